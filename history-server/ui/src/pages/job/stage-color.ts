// Colours that tell stages apart, readable on light and dark. Neighbours differ clearly in hue.

const HUES = [200, 265, 150, 40, 330, 95, 230, 15, 175, 290, 65, 355]

export function stageColor(stage: number): string {
  const hue = HUES[stage % HUES.length] ?? 200
  const round = Math.floor(stage / HUES.length) % 3
  return `hsl(${hue} ${52 - round * 14}% ${52 + round * 5}%)`
}
