import type { ReactNode } from 'react'

function Icon({ children, size = 16 }: { children: ReactNode; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  )
}

export function Logo() {
  return <img src="/favicon.svg" width="24" height="24" alt="" />
}

export const SunIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="3" />
    <path d="M8 1v1.500M8 13.500V15M1 8h1.500M13.500 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1" />
  </Icon>
)

export const MoonIcon = () => (
  <Icon>
    <path d="M13.500 9.700A6 6 0 0 1 6.300 2.500a6 6 0 1 0 7.200 7.200Z" />
  </Icon>
)

export const SystemIcon = () => (
  <Icon>
    <rect x="1.500" y="2.500" width="13" height="9" rx="1.500" />
    <path d="M5.500 14h5" />
  </Icon>
)

export const SearchIcon = () => (
  <Icon>
    <circle cx="7" cy="7" r="4.500" />
    <path d="m10.500 10.500 3.500 3.500" />
  </Icon>
)

export const AlertIcon = () => (
  <Icon>
    <path d="M8 1.800 15 14H1L8 1.800Z" />
    <path d="M8 6.500v3.200M8 11.900v.1" />
  </Icon>
)

export const CopyIcon = () => (
  <Icon size={14}>
    <rect x="5.500" y="5.500" width="8" height="8" rx="1.500" />
    <path d="M10.500 5.500v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" />
  </Icon>
)

export const CheckIcon = () => (
  <Icon size={14}>
    <path d="m3 8.500 3.200 3.200L13 5" />
  </Icon>
)

export const ChevronIcon = () => (
  <Icon size={12}>
    <path d="m6 3.500 4.500 4.500L6 12.500" />
  </Icon>
)

export const ExternalIcon = () => (
  <Icon size={12}>
    <path d="M6.500 3H3.500a1 1 0 0 0-1 1v8.500a1 1 0 0 0 1 1H12a1 1 0 0 0 1-1v-3M9.500 2.500h4v4M13.500 2.500 7.500 8.500" />
  </Icon>
)

export const DrainIcon = () => (
  <Icon size={40}>
    <path strokeWidth="0.9" d="M2 4h6a4 4 0 0 1 4 4v1.500M2 8h5a1.500 1.500 0 0 1 1.500 1.500" />
    <path strokeWidth="0.9" d="M12 11.800c-.8 1-1.200 1.600-1.200 2.100a1.200 1.200 0 0 0 2.400 0c0-.5-.4-1.100-1.200-2.100Z" />
  </Icon>
)
