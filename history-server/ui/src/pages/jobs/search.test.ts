import { describe, expect, it } from 'vitest'
import { apiParams, isFiltered, parseSearch, searchParams, toggleState } from './search'

describe('a search in the address', () => {
  it('comes back as it was written', () => {
    const address = 'q=tpch+q5&state=RUNNING%2CFAILED&since=7d&owner=ada&sort=duration&page=3'
    const search = parseSearch(new URLSearchParams(address))
    expect(search).toEqual({
      q: 'tpch q5',
      states: ['RUNNING', 'FAILED'],
      since: '7d',
      owner: 'ada',
      sort: 'duration',
      page: 3,
    })
    expect(searchParams(search).toString()).toBe(address)
  })

  it('is empty for the default list', () => {
    const search = parseSearch(new URLSearchParams())
    expect(searchParams(search).toString()).toBe('')
    expect(isFiltered(search)).toBe(false)
  })

  it('ignores what it does not understand', () => {
    const search = parseSearch(new URLSearchParams('state=DONE&sort=colour&page=-4'))
    expect(search.states).toEqual([])
    expect(search.sort).toBe('submitted')
    expect(search.page).toBe(1)
  })

  it('asks the server for one page', () => {
    const params = apiParams(parseSearch(new URLSearchParams('page=3&state=LOST')))
    expect(params.get('offset')).toBe('100')
    expect(params.get('limit')).toBe('50')
    expect(params.get('page')).toBeNull()
  })

  it('toggles one state and leaves the others', () => {
    expect(toggleState(['FAILED', 'LOST'], 'FAILED')).toEqual(['LOST'])
    expect(toggleState(['LOST'], 'FAILED')).toEqual(['LOST', 'FAILED'])
  })
})
