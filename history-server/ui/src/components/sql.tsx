import { useMemo } from 'react'
import { tokenLines } from '../lib/sql'

export function Sql({ text, numbered = false }: { text: string; numbered?: boolean }) {
  const lines = useMemo(() => tokenLines(text), [text])
  return (
    <pre className="code" tabIndex={0}>
      {lines.map((line, position) => (
        <div key={position}>
          {numbered && <span className="line-number">{position + 1}</span>}
          {line.map((token, index) =>
            token.kind === 'plain' ? token.text : <span key={index} className={token.kind}>{token.text}</span>,
          )}
          {line.length === 0 && '\n'}
        </div>
      ))}
    </pre>
  )
}
