import { describe, expect, it } from 'vitest'
import { tokenLines, tokens } from './sql'

const kinds = (sql: string) =>
  tokens(sql)
    .filter((token) => token.kind !== 'plain')
    .map((token) => `${token.kind}:${token.text}`)

describe('SQL in colours', () => {
  it('tells keywords, strings, numbers, parameters and comments apart', () => {
    expect(kinds("SELECT a, 'it''s' -- select\nfrom t1 where x > 1.5 and y = $day")).toEqual([
      'keyword:SELECT',
      "string:'it''s'",
      'comment:-- select',
      'keyword:from',
      'keyword:where',
      'number:1.5',
      'keyword:and',
      'parameter:$day',
    ])
  })

  it('loses no character, whatever the text', () => {
    for (const sql of ['', "'open", '/* open', '"quoted select"', 'a$b ; ééé 1e9 \n\n x']) {
      expect(tokens(sql).map((token) => token.text).join('')).toBe(sql)
    }
  })

  it('keeps a comment over several lines a comment', () => {
    expect(tokenLines('/* a\nb */ select\n')).toEqual([
      [{ kind: 'comment', text: '/* a' }],
      [
        { kind: 'comment', text: 'b */' },
        { kind: 'plain', text: ' ' },
        { kind: 'keyword', text: 'select' },
      ],
    ])
  })
})
