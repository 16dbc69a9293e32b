// Shapes of the platform API that the console reads, for `tsc` alone: browsers never load this file.
// tests/unit/test_console_types.py compares every property with contracts.

/** What a node may hold. */
export type Child = Node | string | number | null | undefined | false | Child[];

export interface Page<T> {
  items: T[];
  next: string | null;
  total: number | null;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  errors?: FieldError[];
  correlation_id?: string | null;
}

export interface FieldError {
  field: string;
  message: string;
}

export interface UserIdentity {
  user_id: string;
  name: string;
  email: string | null;
  organization_id: string;
  organization_name: string;
  roles: ("admin" | "staff")[];
}

export interface Me {
  user: UserIdentity;
  planning_center_url: string;
}

export interface ConsoleSettings {
  issuer: string;
  client_id: string;
  authorization_endpoint: string;
  token_endpoint: string;
  end_session_endpoint: string | null;
}

export type Product = "people" | "calendar";

export interface ConnectionCard {
  product: Product;
  state: "not_connected" | "needs_authorization" | "connected" | "reconnect_required" | "closing";
  generation: number;
  pco_organization_name: string | null;
  pco_person_name: string | null;
  connected_at: string | null;
  connected_by_name: string | null;
  reason: string | null;
  shares_grant: boolean;
}

export interface Connections {
  people: ConnectionCard;
  calendar: ConnectionCard;
}

export interface AuthorizationStarted {
  authorize_url: string;
  expires_at: string;
}

export interface AuthorizationCompleted {
  card: ConnectionCard;
  reconnected: boolean;
}

export interface ReceiptLine {
  step: string;
  outcome: "done" | "not_needed" | "pending" | "failed" | "shared";
  sentence: string;
}

export interface DisconnectReceipt {
  product: Product;
  generation: number;
  pco_organization_name: string;
  requested_at: string;
  finished_at: string | null;
  lines: ReceiptLine[];
}

export interface RunProgress {
  phase: string;
  done: number;
  total: number | null;
  noun: string;
  requests: number;
  rate_per_second: number | null;
  eta_seconds_low: number | null;
  eta_seconds_high: number | null;
  waiting_for: string | null;
}

export interface RunQuestion {
  kind: string;
  digest: string | null;
  counts: Record<string, number>;
  examples: Record<string, string | null>[];
  answers: string[];
  threshold: { changed: number; linked: number; percent: number; minimum: number } | null;
}

export interface RunAnswer {
  question: string;
  answer: string;
  by_name: string | null;
  asked_at: string;
  answered_at: string;
}

export type RunState = "queued" | "running" | "waiting" | "stopping" | "done" | "stopped" | "failed";

export interface Run {
  id: string;
  kind: string;
  purpose: string;
  undoes: Record<string, string>;
  state: RunState;
  trigger: string;
  started_by: string | null;
  started_by_name: string | null;
  progress: RunProgress;
  question: RunQuestion | null;
  answered: RunAnswer[];
  counts: Record<string, number>;
  message: string | null;
  version: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

export interface RecordSync {
  id: string;
  record_kind: "member" | "family";
  record_id: string;
  reasons: string[];
  state: "queued" | "done";
  outcome: string | null;
  sentence: string;
  again_at: string | null;
  requested_at: string;
  finished_at: string | null;
}

export interface RunItem {
  record_kind: string;
  record_id: string | null;
  pco_id: string | null;
  name: string;
  outcome: string;
  cause: string | null;
  sentence: string | null;
}

export interface PlanField {
  field: string;
  agreed: unknown;
  agreed_known: boolean;
  here: unknown;
  there: unknown;
  after: unknown;
  does: "here" | "there" | "both" | "conflict" | "nothing";
}

export interface PlanItem {
  record_kind: "member" | "family";
  record_id: string | null;
  pco_id: string | null;
  name: string;
  outcome: string;
  sentence: string | null;
  may_be_mailed: boolean;
  fields: PlanField[];
}

export interface RejectionGroup {
  cause: string;
  sentence: string;
  count: number;
  examples: RunItem[];
}

export interface PeopleStatus {
  connected: boolean;
  members: number;
  families: number;
  linked_members: number;
  linked_families: number;
  held: number;
  gone: number;
  kept_out: number;
  rejected: number;
  run: Run | null;
  last_run: Run | null;
  next_run_at: string | null;
}

export interface Address {
  street_line_1: string;
  street_line_2: string;
  city: string;
  state: string;
  zip: string;
  country_code: string;
}

export interface MemberValues {
  first_name: string;
  last_name: string;
  birthdate: string | null;
  gender: string | null;
  child: boolean;
  email: string | null;
  phone: string | null;
  address: Address | null;
}

export interface PlanningCenterLink {
  pco_id: string;
  state: string;
  gone_at: string | null;
  create_again: boolean;
  merged_with: string | null;
}

export interface Member extends MemberValues {
  id: string;
  external_id: string | null;
  active: boolean;
  family_ids: string[];
  link: PlanningCenterLink | null;
  kept_out: boolean;
  version: number;
  created_at: string;
  updated_at: string;
}

export interface Family {
  id: string;
  external_id: string | null;
  name: string;
  member_ids: string[];
  primary_contact_id: string | null;
  link: PlanningCenterLink | null;
  kept_out: boolean;
  version: number;
  created_at: string;
  updated_at: string;
}

export interface KeptOut {
  record_kind: "member" | "family";
  record_id: string;
  kept_out: boolean;
  by_name: string | null;
  at: string | null;
  family_id: string | null;
  family_name: string | null;
  people: number;
}

export interface ErasureLine {
  service: string | null;
  place: string;
  outcome: "done" | "not_needed" | "pending" | "left" | "kept";
  sentence: string;
  count: number;
}

export interface Erasure {
  id: string;
  record_id: string;
  on_request_of: string;
  by_name: string | null;
  at: string;
  complete: boolean;
  lines: ErasureLine[];
  pco_ids: string[];
  let_back_at: string | null;
  let_back_by_name: string | null;
}

export interface UndoInput {
  run_id: string | null;
  decision_id: string | null;
  rule_id: string | null;
  member_id: string | null;
  family_id: string | null;
}

export interface HistoryEntry {
  id: string;
  field: string;
  side: string;
  old: unknown;
  new: unknown;
  by: string;
  by_name: string | null;
  rule: string | null;
  run_id: string | null;
  decision_id: string | null;
  rule_id: string | null;
  changed_at: string;
  can_undo: boolean;
  joined_name: string | null;
}

export interface MergedFamily {
  id: string;
  name: string;
  primary_contact: boolean;
}

export interface MergedMember {
  member: Member;
  families: MergedFamily[];
  history: number;
}

export interface MergedPair {
  pco_id: string;
  stays: MergedMember;
  joins: MergedMember;
  fills: (keyof MemberValues)[];
  differs: (keyof MemberValues)[];
  may_be_mailed: boolean;
  state: "open" | "kept_two";
  merged_at: string | null;
}

export interface MergedAnswer {
  member: Member;
  pair: MergedPair | null;
}

export interface HeldPerson extends MemberValues {
  middle_name: string | null;
  suffix: string | null;
  active: boolean | null;
}

export interface HeldCandidate {
  member: Member;
  reasons: string[];
  suffix: string | null;
}

export interface HeldMatch {
  id: string;
  pco_id: string;
  theirs: HeldPerson;
  candidates: HeldCandidate[];
  more: number;
  reasons: string[];
  state: "open" | "later" | "same" | "different";
  answered_by_name: string | null;
  answered_at: string | null;
  member_id: string | null;
  can_take_back: boolean;
  version: number;
  created_at: string;
}

export interface HeldSample {
  match: HeldMatch;
  sentence: string;
}

export interface HeldBulk {
  id: string;
  answer: "same" | "different" | "later";
  digest: string;
  count: number;
  left_out: number;
  may_be_mailed: number;
  state: "shown" | "working" | "done";
  done: number;
  skipped: number;
  created_at: string;
  finished_at: string | null;
}

export interface HeldBulkPreview extends HeldBulk {
  samples: HeldSample[];
}

export interface HeldSkipped {
  held_id: string;
  name: string;
  sentence: string;
}

export interface Occurrence {
  key: string;
  starts_at: string;
  ends_at: string;
  first_day: string | null;
  last_day: string | null;
  title: string | null;
  location: string | null;
  moved: boolean;
  cancelled: boolean;
}

export interface EventValues {
  id: string;
  external_id: string | null;
  title: string;
  starts_at: string;
  ends_at: string;
  all_day: boolean;
  first_day: string | null;
  last_day: string | null;
  time_zone: string;
  location: string | null;
  description: string | null;
  recurrence: string | null;
  updated_at: string;
}

export interface EventLink {
  pco_event_id: string;
  pco_event_instance_id: string | null;
  state: "linked" | "gone";
  title_there: string;
  url: string;
  linked_at: string;
  linked_by_name: string | null;
  missing_since: string | null;
  gone_at: string | null;
  note: string | null;
  differs: string[];
  read_at: string | null;
}

export interface CalendarStatus {
  connected: boolean;
  role_missing: boolean;
  message: string | null;
  time_zone: string | null;
  linked: number;
  gone: number;
  poll_minutes: number;
  checked_at: string | null;
  next_check_at: string | null;
  run: Run | null;
  last_run: Run | null;
}

export interface EventSummary extends EventValues {
  first_starts_at: string;
  last_ends_at: string;
  occurrence_count: number;
  version: number;
  created_at: string;
  listed: boolean;
  link: EventLink | null;
}

export interface EventDetails extends EventSummary {
  occurrences: Occurrence[];
}

export interface ListedOccurrence {
  event_id: string;
  key: string;
  title: string;
  location: string | null;
  starts_at: string;
  ends_at: string;
  all_day: boolean;
  first_day: string | null;
  last_day: string | null;
  time_zone: string;
  series: boolean;
  moved: boolean;
}

export interface PeopleSettings {
  first_match: "planning_center" | "ask" | "ours" | null;
  merge_different_fields: boolean;
  threshold_percent: number;
  threshold_minimum: number;
  schedule_hours: number;
  inactivate_deleted: boolean;
}

export interface ConflictField {
  field: string;
  base: unknown;
  base_known: boolean;
  ours: unknown;
  theirs: unknown;
  ours_changed_at: string | null;
  theirs_changed_at: string | null;
  theirs_changed_before: string | null;
  agreed_at: string | null;
}

export interface ConflictRecord {
  kind: string;
  id: string;
  name: string;
  pco_id: string;
  family_ids: string[];
  child: boolean | null;
}

export interface Differences {
  items: { field: string; ours: unknown; theirs: unknown; decided_by_name: string | null; decided_at: string }[];
}

export type Choice = "ours" | "theirs" | "both";

export interface Decision {
  id: string;
  choices: Record<string, Choice>;
  fields: ConflictField[];
  decided_by_name: string | null;
  rule_id: string | null;
  decided_at: string;
  outcome: "waiting" | "applied" | "overtaken" | "not_needed";
  sentence: string | null;
  refused: string[];
  settled_at: string | null;
}

export interface Conflict {
  id: string;
  record: ConflictRecord;
  fields: ConflictField[];
  state: "open" | "resolving" | "resolved" | "agreed_elsewhere" | "withdrawn";
  version: number;
  values_version: number;
  decision: Decision | null;
  opened_at: string;
  updated_at: string;
}

export interface Bulk {
  id: string;
  answer: "ours" | "theirs" | "both" | "filled";
  field: string | null;
  digest: string;
  count: number;
  left_out: number;
  state: "shown" | "working" | "done";
  done: number;
  skipped: number;
  waiting: number;
  applied: number;
  not_needed: number;
  overtaken: number;
  refused: number;
  created_at: string;
  finished_at: string | null;
}

export interface BulkSample {
  conflict: Conflict;
  choices: Record<string, Choice>;
}

export interface ConflictCount {
  open: number;
}

export interface Statement {
  run_id: string;
  at: string;
  sentence: string;
  people: number;
  people_identical: number;
  families: number;
  families_identical: number;
  apart: Record<string, number>;
  kept_out: number;
  changed: number;
}

export interface WhyDifferent {
  reason: string | null;
  sentence: string;
  as_of: string | null;
}

export interface RuleCondition {
  fields: string[];
  answer: "ours" | "theirs";
  older_than_days: number | null;
  empty: "ours" | "theirs" | null;
  child: boolean | null;
}

export interface Rule {
  id: string;
  name: string;
  condition: RuleCondition;
  on: boolean;
  made_by_name: string | null;
  made_at: string;
  changed_at: string;
  waiting: number;
  applied: number;
  not_needed: number;
  overtaken: number;
  bulk_id: string | null;
}

export interface RuleOffer {
  name: string;
  condition: RuleCondition;
  times: number;
}

export interface RulePastSample {
  conflict_id: string;
  record: ConflictRecord;
  fields: ConflictField[];
  choices: Record<string, Choice>;
  decided_by_name: string | null;
  decided_at: string;
}

export interface RulePast {
  looked_at: number;
  same: number;
  different: number;
  same_samples: RulePastSample[];
  different_samples: RulePastSample[];
}

export interface RulePreview {
  name: string;
  condition: RuleCondition;
  digest: string;
  past: RulePast;
  count: number;
  left_out: number;
  samples: BulkSample[];
}

export interface InstanceThere {
  pco_event_instance_id: string;
  title: string;
  starts_at: string;
  ends_at: string;
  first_day: string | null;
  last_day: string | null;
  location: string | null;
  linked_to: string | null;
}

export interface EventThere {
  pco_event_id: string;
  title: string;
  repeats: string | null;
  url: string;
  linked_to: string | null;
  instances: InstanceThere[];
}

export interface EventsThere {
  items: EventThere[];
  more: boolean;
  time_zone: string;
}

export interface Suggestion {
  pco_event_id: string;
  pco_event_instance_id: string | null;
  title: string;
  starts_at: string;
  ends_at: string;
  first_day: string | null;
  last_day: string | null;
  location: string | null;
  strength: "Very likely" | "Likely" | "Possible";
  reasons: string[];
  url: string;
}

export interface Suggestions {
  items: Suggestion[];
  complete: boolean;
}

export interface Suggested {
  event: EventSummary;
  suggestion: Suggestion | null;
  complete: boolean;
}

export interface ComparedField {
  field: string;
  here: unknown;
  there: unknown;
}

export interface ComparedOccurrence {
  here: Occurrence | null;
  there: Occurrence | null;
}

export interface Comparison {
  pco_event_id: string;
  pco_event_instance_id: string | null;
  title_there: string;
  url: string;
  linked_to: EventSummary | null;
  fields: ComparedField[];
  added: number;
  moved: number;
  taken_out: number;
  occurrences: ComparedOccurrence[];
  note: string | null;
  version: number;
  digest: string;
}

export interface LinkedOne {
  event_id: string;
  event: EventDetails | null;
  problem: string | null;
  sentence: string | null;
}

export interface LinkedMany {
  items: LinkedOne[];
}

export interface EventSync {
  id: string;
  event_id: string;
  state: "queued" | "done";
  outcome: string | null;
  sentence: string;
  again_at: string | null;
  requested_at: string;
  finished_at: string | null;
}

export interface EventPush {
  state: "none" | "asked" | "waiting";
  asked_at: string | null;
  by_name: string | null;
  note: string | null;
  may_create: boolean | null;
  may_create_at: string | null;
  new_event_url: string;
}

export interface EventChange {
  event_id: string;
  title: string;
  outcome: string;
  sentence: string;
}

export interface CalendarSettings {
  poll_minutes: number;
}

export interface FeedState {
  active: boolean;
  created_at: string | null;
  created_by_name: string | null;
  last_read_at: string | null;
  revoked_at: string | null;
}

export interface NewFeed extends FeedState {
  path: string;
}

export interface ActivityHour {
  hour: string;
  received: number;
  applied: number;
  waiting: number;
  failed: number;
  refused: number;
  more: boolean;
}

export interface RefusedReason {
  reason: string;
  count: number;
  last: string;
}

export interface Activity {
  hours: ActivityHour[];
  refusals: RefusedReason[];
  failed: number;
  failed_more: boolean;
}

export type DeliveryState = "waiting" | "applied" | "failed" | "archived";

export interface Delivery {
  number: number;
  product: Product;
  name: string;
  resource_type: string | null;
  resource_id: string | null;
  person_id: string | null;
  state: DeliveryState;
  outcome: string | null;
  sentence: string | null;
  record_kind: "member" | "family" | "event" | null;
  record_id: string | null;
  event_time: string | null;
  received_at: string;
  applied_at: string | null;
  replays: number;
}

export interface DeliveryStep {
  step: "received" | "verified" | "stored" | "published" | "applied";
  at: string | null;
  sentence: string;
}

export interface PayloadLook {
  user_name: string;
  reason: string;
  seen_at: string;
}

export interface DeliveryDetails extends Delivery {
  delivery_id: string;
  generation: number;
  merged_person_id: string | null;
  steps: DeliveryStep[];
  can_replay: boolean;
  archived_by: string | null;
  archived_note: string | null;
  looks: PayloadLook[];
}

export interface DeliveryPayload {
  number: number;
  document: unknown;
  masked: boolean;
  sentence: string;
}

export interface ReplayPreview {
  count: number;
  newest: number;
  left_out: number;
  digest: string;
}

export interface Replay {
  id: string;
  state: "queued" | "running" | "done" | "stopped";
  total: number;
  done: number;
  waiting: number;
  asked_by_name: string;
  asked_at: string;
  finished_at: string | null;
}

export interface DeadLetters {
  cause: string;
  count: number;
  newest: number;
  newest_at: string;
  oldest_at: string;
  name: string;
  can_replay: boolean;
}

export interface LogSettings {
  kept_days: number;
}

export interface SubscribedName {
  name: string;
  subject: string;
  state: "active" | "waiting" | "refused";
  since: string | null;
  last_delivery_at: string | null;
  refusal: string | null;
}

export interface Gap {
  id: string;
  since: string;
  until: string;
  cause: string;
  found_at: string;
  redelivered: number;
  closed_at: string | null;
  closed_how: string | null;
  run_id: string | null;
}

export interface SubscriptionStatement {
  product: Product;
  state: "live" | "partly" | "waiting" | "off";
  sentence: string;
  names: SubscribedName[];
  verified_at: string | null;
  verified_every_seconds: number;
  last_delivery_at: string | null;
  gaps: Gap[];
}

export interface SubscriptionStatements {
  people: SubscriptionStatement;
  calendar: SubscriptionStatement;
}
