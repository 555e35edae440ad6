import {
  Background,
  BackgroundVariant,
  BaseEdge,
  Controls,
  EdgeLabelRenderer,
  getBezierPath,
  Handle,
  MarkerType,
  Position,
  ReactFlow,
  ReactFlowProvider,
  type Edge,
  type EdgeProps,
  type Node,
  type NodeProps,
} from '@xyflow/react'
import '@xyflow/react/dist/style.css'
import { memo, useEffect, useMemo, useRef, useState, type RefObject } from 'react'
import type { Stage } from '../../api/types'
import { Skeleton } from '../../components/skeleton'
import { stageTone } from '../../components/state'
import { bytes, duration, plural, ratio, short } from '../../lib/format'
import { layout, links, NODE_HEIGHT, NODE_WIDTH, shapeOf, type Link, type Place } from '../../lib/graph'
import './stage-graph.css'
import { skewOf, stageMs } from './selection'

type StageNode = Node<{ stage: Stage; share: number; down: boolean }, 'stage'>
type StageEdge = Edge<{ link: Link }, 'exchange'>

const HEIGHT_MIN = 300
const HEIGHT_MAX = 760
const FIT = { padding: 0.06, maxZoom: 1 }

interface Props {
  stages: Stage[]
  selected: number | null
  onSelect: (stage: number) => void
}

export function StageGraph(props: Props) {
  const section = useRef<HTMLElement>(null)
  const down = useNarrow()
  const picture = usePicture(props.stages, down, section)
  return (
    <ReactFlowProvider>
      <section ref={section} className="card graph" aria-label="Stage graph">
        <div style={{ height: picture?.height ?? HEIGHT_MIN }}>
          {picture === null ? (
            <div className="card__body">
              <Skeleton lines={6} />
            </div>
          ) : (
            <Graph key={picture.shape} {...props} places={picture.places} down={down} />
          )}
        </div>
        <Legend />
      </section>
    </ReactFlowProvider>
  )
}

/** As high as the whole picture needs at the width it has, within bounds. */
function fittingHeight(places: Map<number, Place>, width: number): number {
  const right = Math.max(1, ...[...places.values()].map((place) => place.x + NODE_WIDTH))
  const bottom = Math.max(1, ...[...places.values()].map((place) => place.y + NODE_HEIGHT))
  const zoom = Math.min(1, (width * 0.92) / right)
  return Math.round(Math.min(HEIGHT_MAX, Math.max(HEIGHT_MIN, bottom * zoom * 1.1 + 24)))
}

interface GraphProps extends Props {
  places: Map<number, Place>
  down: boolean
}

function Graph({ stages, selected, onSelect, places, down }: GraphProps) {
  const nodes = useMemo(() => stageNodes(stages, places, selected, down), [stages, places, selected, down])
  const edges = useMemo(() => stageEdges(stages), [stages])
  return (
    <ReactFlow
      nodes={nodes}
      edges={edges}
      nodeTypes={NODE_TYPES}
      edgeTypes={EDGE_TYPES}
      onNodeClick={(_, node) => onSelect(Number(node.id))}
      onKeyDown={(event) => {
        const node = event.target instanceof Element ? event.target.closest('.react-flow__node') : null
        if (node && (event.key === 'Enter' || event.key === ' ')) {
          event.preventDefault()
          onSelect(Number(node.getAttribute('data-id')))
        }
      }}
      elementsSelectable={false}
      nodesFocusable
      nodesDraggable={false}
      nodesConnectable={false}
      edgesFocusable={false}
      minZoom={0.15}
      maxZoom={1.6}
      fitView
      fitViewOptions={FIT}
      preventScrolling={false}
      zoomOnScroll={false}
      panOnDrag
    >
      <Background variant={BackgroundVariant.Dots} gap={22} size={1} />
      <Controls showInteractive={false} position="bottom-right" orientation="horizontal" />
    </ReactFlow>
  )
}

function Legend() {
  return (
    <ul className="graph__legend" aria-label="Legend">
      <li>
        <span className="graph__key graph__key--critical" /> critical path
      </li>
      <li>
        <span className="graph__key graph__key--broadcast" /> broadcast or gather
      </li>
      <li>
        <span className="graph__key graph__key--wide" /> wider: more bytes
      </li>
    </ul>
  )
}

interface Picture {
  shape: string
  places: Map<number, Place>
  height: number
}

/** The layout is computed again only when the graph's shape changes. */
function usePicture(stages: Stage[], down: boolean, section: RefObject<HTMLElement | null>): Picture | null {
  const shape = `${down ? 'down' : 'right'} ${shapeOf(stages)}`
  const [picture, setPicture] = useState<Picture | null>(null)
  useEffect(() => {
    let current = true
    void layout(stages, down ? 'DOWN' : 'RIGHT').then((places) => {
      if (!current) return
      setPicture({ shape, places, height: fittingHeight(places, section.current?.clientWidth ?? 1000) })
    })
    return () => {
      current = false
    }
    // The stages' numbers do not move the picture.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape])
  return picture
}

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => window.matchMedia('(max-width: 900px)').matches)
  useEffect(() => {
    const query = window.matchMedia('(max-width: 900px)')
    const changed = () => setNarrow(query.matches)
    query.addEventListener('change', changed)
    return () => query.removeEventListener('change', changed)
  }, [])
  return narrow
}

function stageNodes(
  stages: Stage[],
  places: Map<number, Place>,
  selected: number | null,
  down: boolean,
): StageNode[] {
  const longest = Math.max(1, ...stages.map(stageMs))
  return stages.map((stage) => ({
    id: String(stage.stage),
    type: 'stage',
    position: places.get(stage.stage) ?? { x: 0, y: 0 },
    data: { stage, share: stageMs(stage) / longest, down },
    selected: stage.stage === selected,
    width: NODE_WIDTH,
    height: NODE_HEIGHT,
    ariaLabel: `Stage ${stage.stage}: ${stage.name}, ${stage.state}`,
  }))
}

function stageEdges(stages: Stage[]): StageEdge[] {
  return links(stages).map((link) => ({
    id: link.id,
    source: String(link.from),
    target: String(link.to),
    type: 'exchange',
    data: { link },
    markerEnd: {
      type: MarkerType.ArrowClosed,
      // Not `strokeWidth`, which would blow the arrow up with the edge.
      markerUnits: 'userSpaceOnUse',
      width: 16 + link.width * 1.5,
      height: 16 + link.width * 1.5,
      color: edgeColor(link),
    },
  }))
}

const edgeColor = (link: Link) => (link.critical ? 'var(--accent-line)' : 'var(--line-strong)')

const StageCard = memo(function StageCard({ data: { stage, share, down }, selected }: NodeProps<StageNode>) {
  const skew = skewOf(stage)
  return (
    <div
      className={`node node--${stageTone(stage.state)}${selected ? ' node--selected' : ''}${stage.critical ? ' node--critical' : ''}`}
      data-testid={`stage-${stage.stage}`}
    >
      <Handle type="target" position={down ? Position.Top : Position.Left} isConnectable={false} />
      <div className="node__head">
        <span className="node__id num">{stage.stage}</span>
        <span className="node__name" title={stage.name}>
          {stage.name}
        </span>
      </div>
      <div className="node__facts num">
        <span>{stage.state === 'waiting' ? 'waiting' : duration(stageMs(stage))}</span>
        <span>
          {stage.state === 'running' ? `${stage.tasks_finished}/${plural(stage.tasks, 'task')}` : plural(stage.tasks, 'task')}
        </span>
        <span>{short(stage.totals.rows_out)} rows</span>
      </div>
      <div className="node__marks">
        <div className="bar">
          <div className="bar__fill" style={{ width: `${Math.max(1, share * 100)}%` }} />
        </div>
        {skew >= 3 && <span className="node__mark">skew {ratio(skew)}</span>}
        {stage.totals.spilled_bytes > 0 && <span className="node__mark">spill</span>}
        {stage.attempts_failed + stage.attempts_lost > 0 && <span className="node__mark">retries</span>}
      </div>
      <Handle type="source" position={down ? Position.Bottom : Position.Right} isConnectable={false} />
    </div>
  )
})

const ExchangeEdge = memo(function ExchangeEdge(props: EdgeProps<StageEdge>) {
  const [path, x, y] = getBezierPath(props)
  const link = props.data?.link
  if (!link) return null
  const isPartitioned = link.mode === 'partitioned'
  return (
    <>
      <BaseEdge
        path={path}
        {...(props.markerEnd ? { markerEnd: props.markerEnd } : {})}
        style={{
          stroke: edgeColor(link),
          strokeWidth: link.width,
          ...(isPartitioned ? {} : { strokeDasharray: '7 5' }),
        }}
      />
      <EdgeLabelRenderer>
        <div
          className={`edge-label num${link.committed ? '' : ' edge-label--open'}`}
          style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}
        >
          {short(link.rows)} rows
          <br />
          {bytes(link.bytes)}
        </div>
      </EdgeLabelRenderer>
    </>
  )
})

const NODE_TYPES = { stage: StageCard }
const EDGE_TYPES = { exchange: ExchangeEdge }
