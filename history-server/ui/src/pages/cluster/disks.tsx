import type { Disk } from '../../api/types'
import { Dash } from '../../components/dash'
import { bytes, plural } from '../../lib/format'
import { DISK_STATES, share } from './states'

export function Disks({ disks }: { disks: Disk[] }) {
  if (disks.length === 0) return <Dash />
  return (
    <ul className="disks">
      {disks.map((disk) => (
        <Row key={disk.path} disk={disk} />
      ))}
    </ul>
  )
}

function Row({ disk }: { disk: Disk }) {
  const whole = disk.used_bytes + disk.room_bytes
  const state = DISK_STATES[disk.state]
  const errors = disk.errors > 0 ? `, ${plural(disk.errors, 'failed call')}` : ''
  const title = `${disk.path}: ${bytes(disk.used_bytes)} used, ${bytes(disk.room_bytes)} free${errors}`
  return (
    <li className="disks__disk" title={title}>
      <span className="tag disks__class">{disk.class}</span>
      <div className="bar">
        <div
          className={`bar__fill${state?.tone === 'bad' ? ' bar__fill--bad' : ''}`}
          style={{ width: `${100 * share(disk.used_bytes, whole)}%` }}
        />
      </div>
      {disk.state === 'HEALTHY' ? (
        <span className="num disks__room">{bytes(disk.room_bytes)} free</span>
      ) : (
        <span className={`disks__room ${state?.tone === 'warn' ? 'text-warn' : 'text-bad'}`}>{state?.name ?? disk.state}</span>
      )}
    </li>
  )
}
