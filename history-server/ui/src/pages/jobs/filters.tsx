import { useEffect, useRef, useState } from 'react'
import { STATES, type JobState } from '../../api/types'
import { SearchIcon } from '../../components/icons'
import { jobTone, stateName } from '../../components/state'
import { count } from '../../lib/format'
import { AGES, SORTS, toggleState, type Search } from './search'

interface Props {
  search: Search
  byState: Partial<Record<JobState, number>>
  onChange: (change: Partial<Search>) => void
}

export function Filters({ search, byState, onChange }: Props) {
  return (
    <section className="filters" aria-label="Search">
      <div className="filters__row">
        <SearchBox value={search.q} onChange={(q) => onChange({ q })} />
        <select
          className="field"
          aria-label="Time"
          value={search.since}
          onChange={(event) => onChange({ since: event.target.value })}
        >
          {AGES.map((age) => (
            <option key={age.value} value={age.value}>
              {age.label}
            </option>
          ))}
        </select>
        <select
          className="field"
          aria-label="Order"
          value={search.sort}
          onChange={(event) => onChange({ sort: event.target.value })}
        >
          {SORTS.map((sort) => (
            <option key={sort.value} value={sort.value}>
              {sort.label}
            </option>
          ))}
        </select>
      </div>
      <div className="filters__row filters__states" role="group" aria-label="States">
        {STATES.map((state) => (
          <StateToggle
            key={state}
            state={state}
            count={byState[state] ?? 0}
            active={search.states.includes(state)}
            onToggle={() => onChange({ states: toggleState(search.states, state) })}
          />
        ))}
        {search.owner && (
          <button type="button" className="state-toggle" aria-pressed onClick={() => onChange({ owner: '' })}>
            Owner: {search.owner} <span aria-hidden="true">✕</span>
          </button>
        )}
      </div>
    </section>
  )
}

function StateToggle(props: { state: JobState; count: number; active: boolean; onToggle: () => void }) {
  return (
    <button
      type="button"
      className={`state-toggle chip--${jobTone(props.state)}`}
      aria-pressed={props.active}
      data-empty={props.count === 0}
      onClick={props.onToggle}
    >
      <span className="chip__dot" />
      {stateName(props.state)}
      <span className="state-toggle__count num">{count(props.count)}</span>
    </button>
  )
}

/** Searches while one types; `/` jumps here. */
function SearchBox({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value)
  const [known, setKnown] = useState(value)
  const input = useRef<HTMLInputElement>(null)
  if (value !== known) {
    // The address changed from outside, as by the browser's back button.
    setKnown(value)
    setText(value)
  }
  useEffect(() => {
    if (text === value) return
    const timer = setTimeout(() => onChange(text), 200)
    return () => clearTimeout(timer)
  }, [text, value, onChange])
  useEffect(() => {
    const jump = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.target instanceof HTMLInputElement) return
      event.preventDefault()
      input.current?.focus()
    }
    window.addEventListener('keydown', jump)
    return () => window.removeEventListener('keydown', jump)
  }, [])
  return (
    <div className="search">
      <SearchIcon />
      <input
        ref={input}
        className="field search__input"
        type="search"
        placeholder="Name, id, owner, label, SQL or error"
        aria-label="Search jobs"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <kbd className="search__key">/</kbd>
    </div>
  )
}
