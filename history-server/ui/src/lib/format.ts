// Numbers, sizes and times as people read them. Pure.

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export function count(value: number): string {
  return integer.format(value)
}

/** 1,234 → "1,234"; 2,280,000 → "2.28 M". */
export function short(value: number): string {
  if (value < 10_000) return integer.format(value)
  for (const [unit, size] of [['B', 1e9], ['M', 1e6], ['K', 1e3]] as const) {
    if (value >= size) return `${significant(value / size)} ${unit}`
  }
  return integer.format(value)
}

/** Binary sizes with three significant digits: "73.2 MiB". */
export function bytes(value: number): string {
  if (value < 1024) return `${integer.format(value)} B`
  let size = value
  for (const unit of ['KiB', 'MiB', 'GiB', 'TiB']) {
    size /= 1024
    if (size < 1000 || unit === 'TiB') return `${significant(size)} ${unit}`
  }
  return `${integer.format(value)} B`
}

/** "84 ms", "4.21 s", "3m 05s", "2h 14m", "3d 4h". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 1440) return `${Math.floor(minutes / 60)}h ${pad(minutes % 60)}m`
  return `${Math.floor(minutes / 1440)}d ${Math.floor((minutes % 1440) / 60)}h`
}

/** "just now", "3 min ago", "5 h ago", "12 Nov 14:03". */
export function ago(iso: string, now: number): string {
  const at = Date.parse(iso)
  const seconds = Math.max(0, (now - at) / 1000)
  if (seconds < 10) return 'just now'
  if (seconds < 60) return `${Math.floor(seconds)} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  return dateTime(at)
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** Local time, short: "12 Nov 14:03". */
export function dateTime(at: number): string {
  const date = new Date(at)
  return `${date.getDate()} ${MONTHS[date.getMonth()] ?? ''} ${pad(date.getHours())}:${pad(date.getMinutes())}`
}

/** Local time of day: "14:03". */
export function clock(iso: string): string {
  const date = new Date(iso)
  return `${pad(date.getHours())}:${pad(date.getMinutes())}`
}

/** Local time with everything, for tooltips. */
export function exact(iso: string): string {
  const date = new Date(iso)
  return `${date.toLocaleString()} (${iso})`
}

export function percent(part: number): string {
  const value = part * 100
  return `${value > 0 && value < 1 ? '< 1' : Math.round(value)} %`
}

export function ratio(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}×`
}

export function plural(n: number, word: string): string {
  return `${count(n)} ${word}${n === 1 ? '' : 's'}`
}

/** A metric by its name: `run_ms` is a duration, `spilled_bytes` a size, the rest are counts. */
export function metric(name: string, value: number): string {
  if (name.endsWith('_ms')) return duration(value)
  if (name.endsWith('_bytes') || name.startsWith('bytes_')) return bytes(value)
  return short(value)
}

/** `shuffle_read_wait_ms` → "Shuffle read wait". */
export function metricName(name: string): string {
  const words = name.replace(/_(ms|bytes)$/, '').replaceAll('_', ' ').replace(/\bcpu\b/, 'CPU')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

/** Three digits: 99.97 is "100", not "100.0". */
function significant(value: number): string {
  const rounded = Number(value.toPrecision(3))
  if (rounded >= 100) return value.toFixed(0)
  return rounded >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function pad(value: number): string {
  return String(value).padStart(2, '0')
}
