import {
  createColumnHelper,
  flexRender,
  getCoreRowModel,
  getSortedRowModel,
  useReactTable,
  type SortingState,
} from '@tanstack/react-table'
import { useState } from 'react'
import type { Job, Stage } from '../../api/types'
import { Empty } from '../../components/empty'
import { StageChip } from '../../components/state'
import { bytes, duration, ratio, short } from '../../lib/format'
import './stages-tab.css'
import { Attempts } from './attempts'
import { Quantiles } from './quantiles'
import { skewOf, stageMs, useSelectedStage } from './selection'

const column = createColumnHelper<Stage>()

const dash = <span className="muted">–</span>

const COLUMNS = [
  column.accessor('stage', { header: '#', cell: (cell) => <span className="num muted">{cell.getValue()}</span> }),
  column.accessor('name', {
    header: 'Stage',
    cell: (cell) => (
      <span className="stages__name" title={cell.getValue()}>
        {cell.getValue()}
      </span>
    ),
  }),
  column.accessor('state', { header: 'State', cell: (cell) => <StageChip state={cell.getValue()} /> }),
  column.accessor(stageMs, {
    id: 'duration',
    header: 'Duration',
    cell: (cell) => (cell.getValue() > 0 ? duration(cell.getValue()) : dash),
  }),
  column.accessor('tasks', {
    header: 'Tasks',
    cell: ({ row: { original: stage } }) => (
      <>
        {stage.tasks_finished === stage.tasks ? stage.tasks : `${stage.tasks_finished} / ${stage.tasks}`}
        {stage.attempts_failed + stage.attempts_lost > 0 && (
          <span className="text-bad" title="Attempts that failed or were lost">
            {' '}
            +{stage.attempts_failed + stage.attempts_lost}
          </span>
        )}
      </>
    ),
  }),
  column.accessor((stage) => stage.totals.rows_in, { id: 'rows_in', header: 'Rows in', cell: (cell) => short(cell.getValue()) }),
  column.accessor((stage) => stage.totals.rows_out, { id: 'rows_out', header: 'Rows out', cell: (cell) => short(cell.getValue()) }),
  column.accessor((stage) => stage.totals.scanned_bytes + stage.totals.shuffle_read_bytes, {
    id: 'read',
    header: 'Read',
    cell: (cell) => (cell.getValue() > 0 ? bytes(cell.getValue()) : dash),
  }),
  column.accessor((stage) => stage.totals.shuffle_written_bytes + stage.totals.written_bytes, {
    id: 'written',
    header: 'Written',
    cell: (cell) => (cell.getValue() > 0 ? bytes(cell.getValue()) : dash),
  }),
  column.accessor((stage) => stage.totals.spilled_bytes, {
    id: 'spilled',
    header: 'Spilled',
    cell: (cell) => (cell.getValue() > 0 ? <span className="text-warn">{bytes(cell.getValue())}</span> : dash),
  }),
  column.accessor(skewOf, {
    id: 'skew',
    header: 'Skew',
    cell: (cell) => {
      const skew = cell.getValue()
      return skew < 1.05 ? dash : <span className={skew >= 3 ? 'text-warn' : ''}>{ratio(skew)}</span>
    },
  }),
]

const LEFT = new Set(['stage', 'name', 'state'])

export function StagesTab({ job }: { job: Job }) {
  const [selected, select] = useSelectedStage(job.stages)
  if (job.stages.length === 0 || !selected) {
    return (
      <div className="card">
        <Empty title="No stages">{job.live ? 'The script is being planned.' : 'The job ended before it had stages.'}</Empty>
      </div>
    )
  }
  return (
    <>
      <StageTable stages={job.stages} selected={selected.stage} onSelect={select} />
      <Quantiles stage={selected} />
      <Attempts key={selected.stage} job={job} stage={selected} />
    </>
  )
}

interface TableProps {
  stages: Stage[]
  selected: number
  onSelect: (stage: number) => void
}

function StageTable({ stages, selected, onSelect }: TableProps) {
  const [sorting, setSorting] = useState<SortingState>([])
  // eslint-disable-next-line react-hooks/incompatible-library
  const table = useReactTable({
    data: stages,
    columns: COLUMNS,
    state: { sorting },
    onSortingChange: setSorting,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
    sortDescFirst: true,
  })
  return (
    <section className="card table-scroll" aria-label="Stages">
      <table className="table table--hover stages" data-testid="stages">
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map((header) => {
                const sorted = header.column.getIsSorted()
                return (
                  <th
                    key={header.id}
                    className={LEFT.has(header.column.id) ? '' : 'right'}
                    aria-sort={sorted === 'asc' ? 'ascending' : sorted === 'desc' ? 'descending' : 'none'}
                  >
                    <button
                      type="button"
                      className="sort"
                      data-active={sorted !== false}
                      onClick={header.column.getToggleSortingHandler()}
                    >
                      {flexRender(header.column.columnDef.header, header.getContext())}
                      <span aria-hidden="true">{sorted === 'asc' ? '↑' : sorted === 'desc' ? '↓' : ''}</span>
                    </button>
                  </th>
                )
              })}
            </tr>
          ))}
        </thead>
        <tbody>
          {table.getRowModel().rows.map((row) => (
            <tr
              key={row.id}
              tabIndex={0}
              aria-selected={row.original.stage === selected}
              onClick={() => onSelect(row.original.stage)}
              onKeyDown={(event) => {
                if (event.key === 'Enter' || event.key === ' ') {
                  event.preventDefault()
                  onSelect(row.original.stage)
                }
              }}
            >
              {row.getVisibleCells().map((cell) => (
                <td key={cell.id} className={LEFT.has(cell.column.id) ? '' : 'right num'}>
                  {flexRender(cell.column.columnDef.cell, cell.getContext())}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
