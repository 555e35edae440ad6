/** Grey lines while something loads. */
export function Skeleton({ lines, height = 18 }: { lines: number; height?: number }) {
  return (
    <div className="stack" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="skeleton" style={{ height, width: `${100 - ((line * 17) % 45)}%` }} />
      ))}
    </div>
  )
}
