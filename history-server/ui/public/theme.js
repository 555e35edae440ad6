// Before the first paint, so that the theme never flashes.
let theme = null
try {
  theme = localStorage.getItem('penstock.theme')
} catch {
  // No storage: the system's preference applies.
}
if (theme !== 'light' && theme !== 'dark') {
  theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
}
document.documentElement.dataset.theme = theme
