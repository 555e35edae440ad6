/** Stands where there is nothing to say. */
export function Dash() {
  return <span className="muted">–</span>
}
