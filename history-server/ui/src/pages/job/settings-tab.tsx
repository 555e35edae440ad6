import { useState } from 'react'
import type { Job } from '../../api/types'
import { Empty } from '../../components/empty'
import './settings-tab.css'

export function SettingsTab({ job }: { job: Job }) {
  const [text, setText] = useState('')
  const [changedOnly, setChangedOnly] = useState(false)
  const settings = job.settings.filter(
    (setting) =>
      (setting.key.includes(text) || setting.value.includes(text)) && (!changedOnly || setting.layer !== 'default'),
  )
  if (job.settings.length === 0) {
    return (
      <div className="card">
        <Empty title="No settings in the log">The job ran with the defaults of its build.</Empty>
      </div>
    )
  }
  return (
    <section className="card">
      <div className="card__head">
        <h2>Settings</h2>
        <label className="check">
          <input
            type="checkbox"
            checked={changedOnly}
            onChange={(event) => setChangedOnly(event.target.checked)}
          />
          Not default
        </label>
        <input
          className="field"
          type="search"
          placeholder="Filter"
          aria-label="Filter settings"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      <div className="table-scroll">
        <table className="table">
          <thead>
            <tr>
              <th>Setting</th>
              <th>Value</th>
              <th>From</th>
            </tr>
          </thead>
          <tbody>
            {settings.map((setting) => (
              <tr key={setting.key}>
                <td className="mono">{setting.key}</td>
                <td className="mono">{setting.value}</td>
                <td>
                  <span className={setting.layer === 'default' ? 'tag' : 'tag tag--accent'}>{setting.layer}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {settings.length === 0 && <p className="card__body muted">No setting matches.</p>}
    </section>
  )
}
