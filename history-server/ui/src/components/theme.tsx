import { useEffect, useState, useSyncExternalStore } from 'react'
import { MoonIcon, SunIcon, SystemIcon } from './icons'

type Choice = 'system' | 'light' | 'dark'
const NEXT: Record<Choice, Choice> = { system: 'light', light: 'dark', dark: 'system' }
const KEY = 'penstock.theme'

function stored(): Choice {
  try {
    const theme = localStorage.getItem(KEY)
    return theme === 'light' || theme === 'dark' ? theme : 'system'
  } catch {
    return 'system'
  }
}

function remember(choice: Choice) {
  try {
    if (choice === 'system') localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, choice)
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

const media = () => window.matchMedia('(prefers-color-scheme: dark)')

function useSystemIsDark(): boolean {
  return useSyncExternalStore(
    (changed) => {
      const query = media()
      query.addEventListener('change', changed)
      return () => query.removeEventListener('change', changed)
    },
    () => media().matches,
  )
}

/** Goes round system, light and dark. */
export function ThemeToggle() {
  const [choice, setChoice] = useState(stored)
  const systemIsDark = useSystemIsDark()
  useEffect(() => {
    document.documentElement.dataset.theme = choice === 'system' ? (systemIsDark ? 'dark' : 'light') : choice
  }, [choice, systemIsDark])
  const label = `Theme: ${choice}. Switch to ${NEXT[choice]}`
  return (
    <button
      type="button"
      className="button button--quiet button--icon"
      title={label}
      aria-label={label}
      onClick={() => {
        remember(NEXT[choice])
        setChoice(NEXT[choice])
      }}
    >
      {choice === 'system' ? <SystemIcon /> : choice === 'light' ? <SunIcon /> : <MoonIcon />}
    </button>
  )
}
