import { expect, test } from 'vitest'
import { share } from './states'

test('a share stays within its bar', () => {
  expect([share(1, 4), share(9, 4), share(5, 0)]).toEqual([0.25, 1, 0])
})
