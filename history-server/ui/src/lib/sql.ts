// Colours for SQL: enough to read a script, not a parser. Pure.

export type TokenKind = 'keyword' | 'string' | 'number' | 'comment' | 'parameter' | 'plain'

export interface Token {
  kind: TokenKind
  text: string
}

const KEYWORDS = new Set(
  `all and anti any array as asc between by case cast catalog char copy create cross current date decimal default delete
  desc describe distinct distributed drop else end escape except exists explain extract false fetch filter first following
  format from full group having if in inner insert intersect interval into is join last lateral left like limit location
  location natural not null nulls offset on options or order outer over overwrite partition partitioned preceding qualify
  range recursive replace right rollup row rows select semi set show similar stored struct table tables then timestamp to
  true unbounded union unnest using values view when where window with within external parquet csv json avro int bigint
  varchar double boolean cube grouping sets ilike`.split(/\s+/),
)

const PATTERN =
  /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$))|(\$[A-Za-z_][A-Za-z0-9_]*)|(\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)|([A-Za-z_][A-Za-z0-9_]*)/g

export function tokens(sql: string): Token[] {
  const found: Token[] = []
  const push = (kind: TokenKind, text: string) => {
    const last = found.at(-1)
    if (last?.kind === kind && kind === 'plain') last.text += text
    else if (text) found.push({ kind, text })
  }
  let end = 0
  for (const match of sql.matchAll(PATTERN)) {
    push('plain', sql.slice(end, match.index))
    const [text, comment, string, , parameter, number, word] = match
    if (comment !== undefined) push('comment', text)
    else if (string !== undefined) push('string', text)
    else if (parameter !== undefined) push('parameter', text)
    else if (number !== undefined) push('number', text)
    else push(word !== undefined && KEYWORDS.has(word.toLowerCase()) ? 'keyword' : 'plain', text)
    end = match.index + text.length
  }
  push('plain', sql.slice(end))
  return found
}

/** Tokens line by line, so that lines can be numbered. */
export function tokenLines(sql: string): Token[][] {
  const lines: Token[][] = [[]]
  for (const token of tokens(sql)) {
    token.text.split('\n').forEach((text, position) => {
      if (position > 0) lines.push([])
      if (text) lines.at(-1)?.push({ kind: token.kind, text })
    })
  }
  if (lines.length > 1 && lines.at(-1)?.length === 0) lines.pop()
  return lines
}
