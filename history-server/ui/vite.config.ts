import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 1600,
  },
  server: { proxy: { '/api': process.env.PENSTOCK_HISTORY ?? 'http://127.0.0.1:7080' } },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx'] },
})
