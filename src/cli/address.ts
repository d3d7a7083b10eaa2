/** Addresses as a URL has them. @module */
import type { Address } from '#config/setting.ts'

export const formatAddress = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`
