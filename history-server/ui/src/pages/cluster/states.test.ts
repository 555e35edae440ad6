import { expect, test } from 'vitest'
import { isOld, millis, share } from './states'

test('a share stays within its bar', () => {
  expect([share(1, 4), share(9, 4), share(5, 0)]).toEqual([0.25, 1, 0])
})

test('a look of a minute ago is old', () => {
  const at = '2026-11-28T12:00:00Z'
  expect([isOld(at, Date.parse(at) + 20_000), isOld(at, Date.parse(at) + 60_000)]).toEqual([false, true])
})

test('times of one MiB have a digit after the point while they are short', () => {
  expect([millis(310), millis(2_140), millis(312_500)]).toEqual(['0.3 ms', '2.1 ms', '313 ms'])
})
