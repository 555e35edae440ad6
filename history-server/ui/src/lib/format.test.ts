import { describe, expect, it } from 'vitest'
import { ago, bytes, duration, metric, metricName, percent, plural, ratio, short } from './format'

describe('numbers for people', () => {
  it.each([
    [0, '0'],
    [9_999, '9,999'],
    [10_000, '10.0 K'],
    [2_280_000, '2.28 M'],
    [59_986_052, '60.0 M'],
    [99_997, '100 K'],
    [7.2e9, '7.20 B'],
  ])('%d rows are %s', (value, text) => expect(short(value)).toBe(text))

  it.each([
    [0, '0 B'],
    [1023, '1,023 B'],
    [1024, '1.00 KiB'],
    [76_755_763, '73.2 MiB'],
    [1_073_741_824, '1.00 GiB'],
  ])('%d bytes are %s', (value, text) => expect(bytes(value)).toBe(text))

  it.each([
    [0, '0 ms'],
    [84.4, '84 ms'],
    [4_210, '4.21 s'],
    [42_100, '42.1 s'],
    [185_000, '3m 05s'],
    [8_040_000, '2h 14m'],
    [273_600_000, '3d 4h'],
  ])('%d ms are %s', (value, text) => expect(duration(value)).toBe(text))

  it('says how long ago something was', () => {
    const now = Date.parse('2026-11-20T12:00:00Z')
    expect(ago('2026-11-20T11:59:58Z', now)).toBe('just now')
    expect(ago('2026-11-20T11:59:15Z', now)).toBe('45 s ago')
    expect(ago('2026-11-20T11:20:00Z', now)).toBe('40 min ago')
    expect(ago('2026-11-20T02:00:00Z', now)).toBe('10 h ago')
  })

  it('formats a metric by its name', () => {
    expect(metric('run_ms', 1500)).toBe('1.50 s')
    expect(metric('spilled_bytes', 2048)).toBe('2.00 KiB')
    expect(metric('bytes_scanned', 2048)).toBe('2.00 KiB')
    expect(metric('output_rows', 5)).toBe('5')
    expect(metricName('shuffle_read_wait_ms')).toBe('Shuffle read wait')
    expect(metricName('cpu_ms')).toBe('CPU')
  })

  it('writes shares, factors and plurals', () => {
    expect(percent(0.004)).toBe('< 1 %')
    expect(percent(0.42)).toBe('42 %')
    expect(ratio(4.23)).toBe('4.2×')
    expect(plural(1, 'task')).toBe('1 task')
    expect(plural(1200, 'task')).toBe('1,200 tasks')
  })
})
