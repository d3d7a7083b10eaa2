/** What a campaign is told once and keeps: whom, in which waves, when, with whose consent, and when it stops. @module */
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { TrustError } from '#base/errors.ts'

const Name = Type.String({ minLength: 1, maxLength: 160 })
/** More are found by what they have in common. */
export const LISTED_MAX = 10_000
const WAVES_MAX = 100
const WINDOWS_MAX = 64

const MINUTES_OF_DAY = 24 * 60
const MINUTES_OF_WEEK = 7 * MINUTES_OF_DAY

const Who = Type.Object(
  {
    model: Type.Optional(Type.String({ ...Name, description: 'MANUFACTURER/MODEL' })),
    revision: Type.Optional(Name),
    owner: Type.Optional(Type.String({ ...Name, description: 'name of the organization' })),
    area: Type.Optional(Type.String({ ...Name, description: 'OWNER/AREA' })),
    devices: Type.Optional(Type.Array(Name, { minItems: 1, maxItems: LISTED_MAX, uniqueItems: true, description: 'ids' })),
    installed: Type.Optional(
      Type.Object(
        { counterMin: Type.Optional(Type.Integer({ minimum: 0 })), counterMax: Type.Optional(Type.Integer({ minimum: 0 })) },
        { additionalProperties: false, description: 'counters of the component that runs now; 0 is none that is known' },
      ),
    ),
  },
  { additionalProperties: false },
)
export type Who = Static<typeof Who>

export const CampaignTerms = Type.Object(
  {
    release: Type.String({ format: 'uuid', description: 'its id' }),
    kind: Type.Enum(['install', 'rollback'], {
      description: 'rollback: each device goes back from the very version that it has',
    }),
    who: Who,
    waves: Type.Array(
      Type.Object(
        {
          percent: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 100, description: 'of all devices' })),
          devices: Type.Optional(Type.Integer({ minimum: 1 })),
        },
        { additionalProperties: false },
      ),
      { maxItems: WAVES_MAX, description: 'one after the other; who is left over comes in a last one' },
    ),
    gatePercent: Type.Number({
      minimum: 0,
      maximum: 100,
      description: 'of a wave that runs the new version, by its own signed word, before the next wave opens',
    }),
    errors: Type.Object(
      {
        percent: Type.Number({ exclusiveMinimum: 0, maximum: 100, description: 'failed, of those of a wave that are through' }),
        least: Type.Integer({ minimum: 1, description: 'so many have to be through before the rate counts' }),
      },
      { additionalProperties: false },
    ),
    windows: Type.Array(
      Type.Object(
        {
          day: Type.Optional(Type.Integer({ minimum: 0, maximum: 6, description: '0 is Sunday; every day unless told' })),
          from: Type.Integer({ minimum: 0, maximum: MINUTES_OF_DAY - 1, description: 'minute of the day, UTC' }),
          minutes: Type.Integer({ minimum: 1, maximum: MINUTES_OF_DAY }),
        },
        { additionalProperties: false },
      ),
      { maxItems: WINDOWS_MAX, description: 'when devices may begin; always when empty' },
    ),
    consent: Type.Enum(['none', 'driver', 'owner']),
    formats: Type.Optional(
      Type.Array(Type.String({ pattern: '^[a-z0-9-]{1,32}$' }), {
        minItems: 1,
        maxItems: 32,
        uniqueItems: true,
        description: 'signing formats of the artifacts that are shown; all unless told',
      }),
    ),
    urgency: Type.Enum(['attempt', 'forced'], { description: 'forced: devices do not put it off' }),
  },
  { additionalProperties: false },
)
export type CampaignTerms = Static<typeof CampaignTerms>
const compiled = Compile(CampaignTerms)

/** @throws TrustError `malformed` */
export function checkTerms(terms: CampaignTerms): void {
  const wrong = (detail: string): TrustError => new TrustError('malformed', 'campaignMalformed', { facts: { detail } })
  if (!compiled.Check(terms)) throw wrong(`${compiled.Errors(terms)[0]?.instancePath ?? ''} is not as it must be`)
  const { who, waves } = terms
  if (Object.keys(who).length === 0) throw wrong('it does not say which devices it is for')
  if (waves.some(({ percent, devices }) => (percent === undefined) === (devices === undefined)))
    throw wrong('a wave has either a percentage or a number of devices')
  const percents = waves.reduce((sum, { percent = 0 }) => sum + percent, 0)
  if (percents > 100) throw wrong('its waves are more than 100 percent')
}

/** How many devices each wave has, of `size` in all; none is empty. */
export function waveSizes({ waves }: Pick<CampaignTerms, 'waves'>, size: number): readonly number[] {
  const sizes: number[] = []
  let left = size
  for (const { percent, devices } of waves) {
    const wanted = devices ?? Math.max(1, Math.round((size * (percent ?? 0)) / 100))
    const taken = Math.min(left, wanted)
    if (taken > 0) sizes.push(taken)
    left -= taken
  }
  return left > 0 ? [...sizes, left] : sizes
}

/** Whether devices may begin now. */
export function isWithinWindow({ windows }: Pick<CampaignTerms, 'windows'>, now: number): boolean {
  if (windows.length === 0) return true
  const at = new Date(now)
  const minute = at.getUTCHours() * 60 + at.getUTCMinutes()
  return windows.some(({ day, from, minutes }) => {
    if (day === undefined) return (minute - from + MINUTES_OF_DAY) % MINUTES_OF_DAY < minutes
    const ofWeek = at.getUTCDay() * MINUTES_OF_DAY + minute
    return (ofWeek - (day * MINUTES_OF_DAY + from) + MINUTES_OF_WEEK) % MINUTES_OF_WEEK < minutes
  })
}
