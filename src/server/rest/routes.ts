/** The whole REST interface. Adding routes: write a file, add one line here. @module */
import type { Access } from '#access/access.ts'
import type { Approvals } from '#approvals/approvals.ts'
import type { Signing } from '#signing/service.ts'
import type { CAServices } from '../compose.ts'
import type { Agreed } from './agreed.ts'
import type { Updates } from '#updates/updates.ts'
import { approvalRoutes } from './approvals.ts'
import { accessRoutes } from './access.ts'
import type { Backups } from '#backup/runs.ts'
import { artifactRoutes, type ArtifactServices } from './artifacts.ts'
import { auditRoutes, type AuditServices } from './audit.ts'
import { authorityRoutes } from './authorities.ts'
import { authorityLifeRoutes } from './authority-life.ts'
import { backupRoutes } from './backups.ts'
import { birthRoutes } from './births.ts'
import { brokerRoutes } from './broker.ts'
import { campaignRoutes } from './campaigns.ts'
import { commandRoutes } from './commands.ts'
import { certificateRoutes } from './certificates.ts'
import { deviceCatalogRoutes } from './device-catalog.ts'
import { deviceReportRoutes } from './device-reports.ts'
import { deviceRoutes } from './devices.ts'
import { endpointRoutes } from './endpoints.ts'
import { gatewayRoutes } from './gateways.ts'
import { genuineRoutes } from './genuine.ts'
import { keyRoutes } from './keys.ts'
import type { CampaignsContext } from '#updates/campaigns/context.ts'
import type { Broker } from '#mqtt/broker.ts'
import type { LicensesContext } from '#licenses/context.ts'
import { licenseRoutes } from './licenses.ts'
import type { OrdersContext } from '#orders/orders.ts'
import { orderRoutes } from './orders.ts'
import { ownershipRoutes } from './ownership.ts'
import { profileRoutes } from './profiles.ts'
import { revocationPolicyRoutes } from './revocation-policy.ts'
import { speakerRoutes } from './speakers.ts'
import { releaseRoutes } from './releases.ts'
import { signerRoutes } from './signers.ts'
import { serverRoutes, type ServerServices } from './server.ts'
import { tufRoutes } from './tuf.ts'
import { usageRoutes } from './usage.ts'
import { verificationRoutes } from './verification.ts'

export interface RouteServices {
  readonly access: Access
  readonly audit: AuditServices
  readonly server: ServerServices
  readonly ca: CAServices
  readonly backups: Backups
  readonly signing: Signing
  readonly artifacts: Pick<ArtifactServices, 'jobs' | 'archive' | 'waitSeconds'>
  readonly approvals: Approvals
  readonly agreed: Agreed
  /** For devices that are offered beyond the number of a day, and those that move to another gateway. */
  readonly agreedByTwo: Agreed
  readonly offersAlone: number
  readonly orders: OrdersContext
  readonly licenses: LicensesContext
  readonly updates: Updates
  readonly campaigns: CampaignsContext
  /** Undefined where there is none. */
  readonly broker: () => Broker | undefined
  /** Called when endpoints were made or changed. */
  readonly endpointsChanged: () => Promise<void>
}

export const allRoutes = ({
  access,
  audit,
  server,
  ca,
  backups,
  signing,
  artifacts,
  approvals,
  agreed,
  agreedByTwo,
  offersAlone,
  orders,
  licenses,
  updates,
  campaigns,
  broker,
  endpointsChanged,
}: RouteServices) => [
  ...serverRoutes(server),
  ...accessRoutes(access),
  ...auditRoutes(audit),
  ...authorityRoutes(ca),
  ...authorityLifeRoutes(ca, endpointsChanged, agreed),
  ...revocationPolicyRoutes(ca),
  ...profileRoutes(ca),
  ...endpointRoutes(ca, endpointsChanged),
  ...certificateRoutes(ca),
  ...birthRoutes(ca),
  ...verificationRoutes(ca),
  ...deviceCatalogRoutes(ca),
  ...ownershipRoutes(ca, { agreed: agreedByTwo, alone: offersAlone }),
  ...gatewayRoutes(ca, agreedByTwo),
  ...speakerRoutes(ca, access),
  ...deviceRoutes(ca),
  ...brokerRoutes(ca, broker),
  ...deviceReportRoutes(ca),
  ...commandRoutes(ca),
  ...genuineRoutes(ca),
  ...keyRoutes(ca, signing.signers.needs, agreed),
  ...backupRoutes(backups),
  ...signerRoutes({ signing, ca, access, organizationId: audit.organizationId }),
  ...artifactRoutes({ signing, ...artifacts, db: audit.db, organizationId: audit.organizationId }),
  ...approvalRoutes(approvals, access),
  ...orderRoutes(orders),
  ...releaseRoutes({ updates, access }),
  ...tufRoutes({ updates, access }),
  ...licenseRoutes(licenses, access),
  ...usageRoutes(ca.devices.usage),
  ...campaignRoutes(campaigns),
]

/** Every row with its types, for the client. */
export type AnyRoute = ReturnType<typeof allRoutes>[number]
