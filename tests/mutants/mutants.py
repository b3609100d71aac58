"""Hand-made faults in what keeps records exactly once, each with the tests that have to find it.

A test that no fault can fail proves nothing. `make mutants` puts each fault into a copy of the tree and runs
its tests there; one that passes them all is a hole in the tests.
"""

from __future__ import annotations

from typing import NamedTuple

WINDOW = "messaging/window.py"
STREAM = "messaging/task_stream.py"
PUBLISHER = "messaging/transactions.py"
MEMBERSHIP = "messaging/membership.py"
VIEWS = "messaging/views.py"
LAG = "messaging/lag.py"
METRICS = "messaging/metrics.py"
SETTLE = "stream_workers/fetch/settle.py"
WORKER = "stream_workers/fetch/worker.py"
DOUBTS = "stream_workers/fetch/doubts.py"
VISITS = "stream_workers/fetch/visits.py"
HOSTS = "stream_workers/fetch/hosts.py"
SCHEDULE = "stream_workers/fetch/schedule.py"
NOTICES = "stream_workers/notifier/notices.py"
NOTICE_POST = "stream_workers/notifier/post.py"
NOTICE_BOOK = "stream_workers/notifier/book.py"
DOCUMENT = "schemas/document.py"
COMMANDS = "producers/commands.py"
DYNAMODB = "sinks/dynamodb.py"
ADVERTISED = "atp/advertised.py"
HIDDEN = "atp/hidden.py"
BOOK = "stream_workers/tracker/book.py"
TRACKER_STATUS = "stream_workers/tracker/status.py"
TRACKER = "stream_workers/tracker/tracker.py"
PLANNER = "producers/planner.py"
SCHEDULES = "producers/schedules.py"
ROOM = "producers/room.py"
CANCELLING = "stream_workers/fetch/cancelling.py"
CHUNK = "producers/chunk.py"
DRAFT = "producers/draft.py"
SEEN = "producers/seen.py"
LISTED = "producers/sources/listed.py"
LISTED_HOSTS = "producers/sources/hosts.py"
S3_SOURCE = "producers/sources/s3.py"
JOB_SOURCE = "producers/sources/job.py"
SCOPE = "schemas/scope.py"
CHAIN = "sinks/chain.py"
PROGRESS = "sinks/progress.py"
COMMITS = "sinks/commits.py"
LOOP = "sinks/loop.py"
WRITER = "sinks/table_writer.py"
ITEMS = "sinks/items.py"
REPORTS = "sinks/reports.py"
ACCOUNTS = "sinks/accounts.py"
TERMINAL = "messaging/outcomes.py"
COMPARE = "local/compare.py"
LEDGER = "local/network/ledger.py"
RATE_WINDOWS = "stream_workers/rates/windows.py"
RATE_BOOK = "stream_workers/rates/book.py"
REWIND = "messaging/rewind.py"
PLC = "atp/plc.py"
MIRROR = "atp/plc_mirror.py"
MIRROR_WRITER = "atp/plc_writer.py"
PLC_SYNC = "atp/plc_sync.py"
IDENTITY = "atp/identity.py"
LISTING = "atp/listing.py"
DIFF = "atp/diff.py"
LIST = "stream_workers/fetch/list_strategy.py"
AUTO = "stream_workers/fetch/auto_strategy.py"
STORED_VIEW = "messaging/stored_view.py"
EXISTING = "producers/existing.py"
REPLAYS = "producers/replays.py"
LOOKUPS = "producers/lookups.py"
FETCH_HOSTS = "stream_workers/fetch/hosts.py"

TEST_NOTICES = "tests/stream_workers/test_notices.py"
TEST_NOTIFIER = "tests/stream_workers/test_notifier.py"
TEST_SECRETS = "tests/schemas/test_secrets.py"
TEST_OWN_CREDENTIALS = "tests/sinks/test_own_credentials.py"
TEST_REPLAYS = "tests/producers/test_replays.py"
TEST_CLEARING = "tests/stream_workers/test_clearing.py"
TEST_REPLAYS_KILLED = "tests/producers/test_replays_killed.py"
TEST_BOOK_REPLAYS = "tests/stream_workers/test_book_replays.py"
TEST_LIST = "tests/stream_workers/test_list_strategy.py"
TEST_AUTO = "tests/stream_workers/test_auto_strategy.py"
TEST_DIFF = "tests/atp/test_diff.py"
TEST_STORED_VIEW = "tests/messaging/test_stored_view.py"
TEST_EXISTING = "tests/producers/test_existing.py"
TEST_WINDOW = "tests/messaging/test_window.py"
TEST_STREAM = "tests/messaging/test_task_stream.py"
TEST_ONCE = "tests/messaging/test_exactly_once.py"
TEST_CRASH = "tests/messaging/test_crash.py"
TEST_TRANSACTIONS = "tests/messaging/test_transactions.py"
TEST_MEMBERSHIP = "tests/messaging/test_membership.py"
TEST_VIEWS = "tests/messaging/test_views.py"
TEST_LAG = "tests/messaging/test_lag.py"
TEST_METRICS = "tests/messaging/test_metrics.py"
TEST_CRASH = "tests/stream_workers/test_worker_crash.py"
TEST_VISITS = "tests/stream_workers/test_visits.py"
TEST_CLEARING = "tests/stream_workers/test_clearing.py"
TEST_SCHEDULE = "tests/stream_workers/test_schedule.py"
TEST_ADVERTISED = "tests/atp/test_advertised.py"
TEST_HIDDEN = "tests/atp/test_hidden.py"
TEST_TOUR = "tests/stream_workers/test_fetch_worker.py"
TEST_TRACKER_KILLED = "tests/stream_workers/test_tracker_killed.py"
TEST_TRACKER_TIME = "tests/stream_workers/test_tracker_time.py"
TEST_BOOK = "tests/stream_workers/test_book.py"
TEST_PLANNER = "tests/producers/test_planner.py"
TEST_PLANNER_KILLED = "tests/producers/test_planner_killed.py"
TEST_SCHEDULES = "tests/producers/test_schedules.py"
TEST_CANCELLING = "tests/stream_workers/test_cancelling.py"
TEST_CHUNK = "tests/producers/test_chunk.py"
TEST_JOB_PLAN = "tests/producers/test_job_plan.py"
TEST_LISTS = "tests/producers/sources/test_lists.py"
TEST_HOSTS = "tests/producers/sources/test_hosts.py"
TEST_S3 = "tests/producers/sources/test_s3.py"
TEST_JOB = "tests/producers/sources/test_job.py"
TEST_SCOPE = "tests/schemas/test_scope.py"
TEST_CHAIN = "tests/sinks/test_chain.py"
TEST_PROGRESS = "tests/sinks/test_progress.py"
TEST_COMMITS = "tests/sinks/test_commits.py"
TEST_PARQUET = "tests/sinks/test_parquet.py"
TEST_WRITER = "tests/sinks/test_table_writer.py"
TEST_REPORTS = "tests/sinks/test_reports.py"
TEST_COMPARE = "tests/local/test_compare.py"
TEST_LEDGER = "tests/network/test_ledger.py"
TEST_RATE_WINDOWS = "tests/stream_workers/test_rate_windows.py"
TEST_RATE_BOOK = "tests/stream_workers/test_rate_book.py"
TEST_REWIND = "tests/messaging/test_rewind.py"
TEST_PLC = "tests/atp/test_plc.py"
TEST_MIRROR = "tests/atp/test_plc_mirror.py"
TEST_PLC_SYNC = "tests/atp/test_plc_sync.py"
TEST_IDENTITY_MIRROR = "tests/atp/test_identity_mirror.py"


class Mutant(NamedTuple):
    """One fault: in `file`, the only occurrence of `old` becomes `new`; `tests` have to find it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = (
    # The window
    Mutant(
        "the window commits the highest finished offset",
        WINDOW,
        "return next(iter(self._open)) if self._open else self._position",
        "return self._position",
        (TEST_WINDOW,),
    ),
    Mutant(
        "the window forgets its bitmap",
        WINDOW,
        "self._restored = _decode(committed, metadata)",
        "self._restored: set[int] = set()",
        (TEST_WINDOW,),
    ),
    Mutant(
        "the bitmap begins one offset too early",
        WINDOW,
        "return {base + i for i",
        "return {base + i - 1 for i",
        (TEST_WINDOW,),
    ),
    Mutant(
        "unfinished tasks are marked as finished",
        WINDOW,
        "done[(offset - base) >> 3] &= ~(1 << ((offset - base) & 7))",
        "pass",
        (TEST_WINDOW,),
    ),
    Mutant(
        "what was restored is left out of the next bitmap",
        WINDOW,
        "_set(done, offset - base)",
        "pass",
        (TEST_WINDOW,),
    ),
    Mutant(
        "a message delivered again is worked on again",
        WINDOW,
        "if offset < self._position:\n            return False",
        "if offset < 0:\n            return False",
        (TEST_WINDOW,),
    ),
    Mutant(
        "a hole between messages stays open",
        WINDOW,
        "if offset < self._position:\n            return False\n        self.reached(offset)",
        "if offset < self._position:\n            return False\n        if offset > self._position:\n"
        "            self._open[self._position] = None\n        self._position = offset",
        (TEST_WINDOW,),
    ),
    Mutant(
        "a finished task asks for no commit",
        WINDOW,
        "del self._open[offset]\n        self._changed = True",
        "del self._open[offset]",
        (TEST_WINDOW,),
    ),
    # Task stream and membership
    Mutant(
        "a task of an earlier holding counts as held",
        STREAM,
        "return self._epochs.get((task.topic, task.partition)) == task.epoch",
        "return (task.topic, task.partition) in self._epochs",
        (TEST_STREAM,),
    ),
    Mutant(
        "a window does not survive a rebalance",
        STREAM,
        'OffsetWindow(at.offset, at.metadata or "")',
        "OffsetWindow(at.offset)",
        (TEST_STREAM,),
    ),
    Mutant(
        "what is open is not committed before partitions go",
        STREAM,
        "            self._before_revoke(partitions)\n",
        "",
        (TEST_ONCE, TEST_STREAM),
    ),
    Mutant(
        "a full window is read on",
        STREAM,
        "if pause := full - self._paused:",
        "if pause := set[tuple[str, int]]():",
        (TEST_STREAM,),
    ),
    Mutant(
        "holes at a partition's end are never committed",
        STREAM,
        "self._windows[place].reached(position)",
        "pass",
        (TEST_STREAM,),
    ),
    Mutant(
        "a lost membership is shrugged off",
        MEMBERSHIP,
        '        self._end(f"{self._group} was silent for too long and lost {sorted(p.partition for p in '
        'partitions)}")',
        "        self.partitions.clear()",
        (TEST_ONCE,),
    ),
    Mutant(
        "companions stay behind",
        MEMBERSHIP,
        "return [self._topic, *self._companions]",
        "return [self._topic]",
        (TEST_MEMBERSHIP,),
    ),
    Mutant(
        "undecided offsets count as none",
        MEMBERSHIP,
        "                    raise\n                continue\n",
        "                    raise\n"
        "                return [TopicPartition(p.topic, p.partition, 0) for p in partitions]\n",
        (TEST_ONCE,),
    ),
    # Transactions
    Mutant(
        "offsets go without the messages' transaction",
        PUBLISHER,
        "self._call(self._producer.commit_transaction, _CALL_TIMEOUT)",
        "self._call(self._producer.abort_transaction, _CALL_TIMEOUT)",
        (TEST_TRANSACTIONS,),
    ),
    Mutant(
        "a transaction call may hang for ever",
        PUBLISHER,
        "with must_return(function.__name__, limit):",
        "if limit:",
        (TEST_CRASH,),
    ),
    Mutant(
        "messages go without the offsets",
        PUBLISHER,
        "self._call(self._producer.send_offsets_to_transaction, list(offsets), group, _CALL_TIMEOUT)",
        "pass",
        (TEST_TRANSACTIONS,),
    ),
    Mutant(
        "who is no member commits all the same",
        PUBLISHER,
        "if not member.memberid():",
        "if False:",
        (TEST_TRANSACTIONS,),
    ),
    Mutant(
        "a view stops at the committed end",
        VIEWS,
        "end_offsets(self._admin, self._topic, self._positions, committed=False)",
        "end_offsets(self._admin, self._topic, self._positions, committed=True)",
        (TEST_VIEWS,),
    ),
    # The fetch worker
    Mutant(
        "a repository is published without its sync marker",
        SETTLE,
        "        publisher.publish(names.records, task.did, marker)\n",
        "",
        (TEST_TOUR,),
    ),
    Mutant(
        "a task is finished but not what it brought",
        SETTLE,
        "                self._conclude(publisher, task, ending, spec, selection)\n",
        "                pass\n",
        (TEST_TOUR,),
    ),
    Mutant(
        "downloads go on while their partition is given up",
        WORKER,
        "            task.cancel()\n        if ended:\n",
        "            pass\n        if False:\n",
        ("tests/integration/test_scaling.py",),
    ),
    # Hosts
    Mutant(
        "accounts pay for an outage once it is over",
        DOUBTS,
        " or host.breaker.openings > doubt.openings",
        "",
        (TEST_VISITS,),
    ),
    Mutant(
        "the last accounts of a host that answers never pay",
        DOUBTS,
        "return doubt.ending if host.answers > doubt.answers or alone else None",
        "return doubt.ending if alone else None",
        (TEST_VISITS,),
    ),
    Mutant(
        "an open breaker's probe is always the same account",
        VISITS,
        "lambda: schedule.add(work, self._clock())",
        "lambda: schedule.again(work)",
        (TEST_VISITS,),
    ),
    Mutant(
        "a host is given up for a job that it was never tried for",
        HOSTS,
        "self.breaker.failed_at >= self.came.get(job_id, 0.0)",
        "True",
        (TEST_CLEARING,),
    ),
    Mutant(
        "a letter counts as written before its transaction is committed",
        HOSTS,
        "if published < commits",
        "if published <= commits",
        (TEST_CLEARING,),
    ),
    Mutant(
        "a suspect takes the place of a healthy host",
        SCHEDULE,
        "return len(hosts) - suspects < limits.max_concurrent_pds",
        "return len(hosts) < limits.max_concurrent_pds",
        (TEST_SCHEDULE,),
    ),
    Mutant(
        "kinds that share a budget are told apart by any answer",
        ADVERTISED,
        "window.remaining >= before.remaining",
        "window.remaining >= before.remaining - 1",
        (TEST_ADVERTISED,),
    ),
    Mutant(
        "a hidden window is believed to be as short as it may be",
        HIDDEN,
        "        end = self._began + self.longest\n        if now >= end:\n            return now",
        "        end = self._began + self.shortest\n        if now >= end:\n            return now",
        (TEST_HIDDEN,),
    ),
    # Tracker
    Mutant(
        "the tracker commits its place outside of the transaction",
        TRACKER,
        "        self._publisher.commit(offsets, self._membership.consumer)\n",
        "        if offsets:\n"
        "            self._membership.consumer.commit(offsets=offsets, asynchronous=False)\n"
        "        self._publisher.commit()\n",
        (TEST_TRACKER_KILLED,),
    ),
    Mutant(
        "the tracker begins with empty books",
        TRACKER,
        "            self._books |= books_of(ledgers.items.values(), pages.items.values())\n",
        "            pass\n",
        (TEST_CRASH,),
    ),
    Mutant(
        "what time makes of a job is written without its partition's offsets",
        TRACKER,
        "            self._moved.add(self._partition(job_id))\n",
        "",
        (TEST_TRACKER_KILLED,),
    ),
    Mutant(
        "a tracker calls jobs stale whose outcomes it has not read",
        TRACKER,
        "elif self._is_read(job_id) and grow_stale(",
        "elif grow_stale(",
        (TEST_TRACKER_TIME,),
    ),
    Mutant(
        "each attempt counts as a retrying account",
        BOOK,
        "ledger.totals.retrying += outcome.attempt == 1",
        "ledger.totals.retrying += 1",
        (TEST_BOOK,),
    ),
    Mutant(
        "a job ends before its plan",
        TRACKER_STATUS,
        "return ledger.plan_finished and ledger.totals.terminal >= ledger.planned",
        "return ledger.totals.terminal >= ledger.planned",
        (TEST_BOOK,),
    ),
    Mutant(
        "what comes late changes a job that has ended",
        BOOK,
        "case PlanOutcome() if ledger.finished_at is None:",
        "case PlanOutcome():",
        (TEST_BOOK,),
    ),
    # Planner
    Mutant(
        "a chunk's checkpoint goes in a transaction of its own",
        PLANNER,
        "            self._publisher.publish(topic, key, message.encode())\n",
        "            if topic == self._names.plans:\n                self._publisher.commit()\n"
        "            self._publisher.publish(topic, key, message.encode())\n",
        (TEST_PLANNER_KILLED,),
    ),
    Mutant(
        "commands are committed without their offsets",
        PLANNER,
        "self._publisher.commit(places, self._membership.consumer)",
        "self._publisher.commit()",
        (TEST_PLANNER,),
    ),
    Mutant(
        "how far a schedule is goes in a transaction of its own",
        PLANNER,
        "            self._publish(taken.publications(self._names))\n",
        "            *others, checkpoint = taken.publications(self._names)\n"
        "            self._publish(others)\n            self._publisher.commit()\n"
        "            self._publish([checkpoint])\n",
        (TEST_SCHEDULES,),
    ),
    Mutant(
        "a schedule's runs go on side by side",
        SCHEDULES,
        "checkpoint.run is not None and not jobs.ended(checkpoint.run)",
        "False",
        (TEST_SCHEDULES,),
    ),
    Mutant(
        "a large job fills what workers read ahead",
        ROOM,
        "        return self._reach <= self._most\n",
        "        return True\n",
        (TEST_PLANNER,),
    ),
    Mutant(
        "downloads of a cancelled job run to their end",
        CANCELLING,
        "                going.cancel()\n",
        "                pass\n",
        (TEST_CANCELLING,),
    ),
    Mutant(
        "a partition that goes ends its tasks as cancelled",
        CANCELLING,
        "if not self.concerns(job_id) or (this is not None and this.cancelling()):",
        "if this is None:",
        (TEST_CANCELLING,),
    ),
    Mutant(
        "a chunk loses a host's last account",
        CHUNK,
        "        mixed.append(host.popleft())\n        if host:\n",
        "        mixed.append(host.popleft())\n        if len(host) > 1:\n",
        (TEST_CHUNK,),
    ),
    # Sources and the accounts met
    Mutant(
        "accounts of a chunk that was never committed count as met",
        SEEN,
        "DELETE FROM seen WHERE chunk > ?",
        "DELETE FROM seen WHERE chunk > ? + 1",
        (TEST_JOB_PLAN,),
    ),
    Mutant(
        "another plan's table of accounts met is believed",
        SEEN,
        "            if _name_of(table) == wanted:\n",
        "            if _name_of(table):\n",
        (TEST_JOB_PLAN,),
    ),
    Mutant(
        "accounts are met before it is known where they live",
        DRAFT,
        '                self._left_out["moved"] += 1\n',
        '                self._left_out["moved"] += 1\n                self._met.add(entry.account)\n',
        (TEST_JOB_PLAN,),
    ),
    Mutant(
        "the first host to list an account keeps the others from it",
        DRAFT,
        "            key = account if entry.host is None else (account, entry.host)\n",
        "            key = account\n",
        (TEST_JOB_PLAN,),
    ),
    Mutant(
        "a source that changed is read on",
        LISTED,
        "    if reading.place != wanted:\n",
        "    if reading.place.rows < wanted.rows:\n",
        (TEST_LISTS,),
    ),
    Mutant(
        "a host's place is that of the page under way",
        LISTED_HOSTS,
        "            host.cursor = following\n",
        "            host.cursor = host.cursor or following\n",
        (TEST_HOSTS,),
    ),
    Mutant(
        "the last host of a full page is listed again for ever",
        LISTED_HOSTS,
        "return rows[places[-1] + 1 :] if places else rows",
        "return rows[places[-1] + 2 :] if places else rows",
        (TEST_HOSTS,),
    ),
    Mutant(
        "an object that was replaced is read on",
        S3_SOURCE,
        "        if found.etag != etag:\n",
        "        if not found.etag:\n",
        (TEST_S3,),
    ),
    Mutant(
        "an account's first outcome counts",
        JOB_SOURCE,
        "DO UPDATE SET wanted = excluded.wanted",
        "DO NOTHING",
        (TEST_JOB,),
    ),
    Mutant(
        "an account that is denied is let in where it is allowed, too",
        SCOPE,
        "        if did in self._deny.dids or self._deny.has_host(origin):\n",
        "        if (did in self._deny.dids or self._deny.has_host(origin)) and self._allow.empty:\n",
        (TEST_SCOPE,),
    ),
    # The chain of files
    Mutant(
        "a file overwrites another of its name",
        CHAIN,
        "os.link(draft, target)",
        "os.replace(draft, target)",
        (TEST_CHAIN,),
    ),
    Mutant(
        "the chain's end is not looked up",
        CHAIN,
        "            self.end = self._find_end()\n",
        "",
        (TEST_CHAIN,),
    ),
    Mutant(
        "rows stored by another are stored again",
        CHAIN,
        "while (rows := self._missing(rows)).num_rows:",
        "for _ in range(min(1, rows.num_rows)):",
        (TEST_CHAIN,),
    ),
    Mutant(
        "after a collision the chain goes on at its own end",
        CHAIN,
        "self.end = last if published else max(self.end, self._last_offset(target))",
        "self.end = last",
        (TEST_CHAIN,),
    ),
    Mutant(
        "a file's first row tells its end",
        CHAIN,
        '"skyfill.last_offset": str(last)',
        '"skyfill.last_offset": str(rows["offset"][0].as_py())',
        (TEST_CHAIN,),
    ),
    Mutant(
        "files of another broker's life are counted",
        CHAIN,
        "e.name.startswith(self._prefix) and _NAME.fullmatch(e.name)",
        "_NAME.fullmatch(e.name)",
        (TEST_CHAIN,),
    ),
    # Sinks: progress, commits, loop
    Mutant(
        "the farthest destination decides what is committed",
        PROGRESS,
        "offset = min(unstored.values(), default=self.position)",
        "offset = max(unstored.values(), default=self.position)",
        (TEST_PROGRESS,),
    ),
    Mutant(
        "what other destinations have is forgotten",
        PROGRESS,
        "self._restored = {key: committed + beyond for key, beyond in _decode(metadata).items()}",
        "self._restored: dict[str, int] = {}",
        (TEST_PROGRESS,),
    ),
    Mutant(
        "the position is committed, stored or not",
        LOOP,
        "points = {p: h.progress.point(self._sink.unstored(p)) for p, h in held.items()}",
        "points = {p: h.progress.point({}) for p, h in held.items()}",
        (TEST_PARQUET,),
    ),
    Mutant(
        "partitions go before their rows are stored",
        LOOP,
        "        self._sink.flush(partitions)\n        return self._commit(partitions)",
        "        return self._commit(partitions)",
        (TEST_PARQUET,),
    ),
    Mutant(
        "a sink that is no member commits all the same",
        COMMITS,
        "if not consumer.memberid():",
        "if False:",
        (TEST_COMMITS,),
    ),
    # DynamoDB
    Mutant(
        "a second fetch is written as if nothing were there",
        WRITER,
        "if self._accounts[write.did] == write.fetch:",
        "if True:",
        (TEST_WRITER,),
    ),
    Mutant(
        "a table that holds the account is taken for empty",
        WRITER,
        'return answer["Count"] == 0',
        "return True",
        (TEST_WRITER,),
    ),
    Mutant(
        "throttled statements are dropped",
        WRITER,
        "strict=True) if code in _PASSING_OF_ONE]",
        "strict=True) if code in ()]",
        (TEST_WRITER,),
    ),
    Mutant(
        "an item that is there is taken for this one",
        WRITER,
        "                self._put_each(there)\n",
        "",
        (TEST_WRITER,),
    ),
    Mutant(
        "an item is put whatever is there",
        WRITER,
        "                ConditionExpression=NOT_OLDER,\n"
        "                ExpressionAttributeNames=NOT_OLDER_NAMES,\n"
        "                ExpressionAttributeValues=condition_values(item),\n",
        "",
        (TEST_WRITER,),
    ),
    Mutant(
        "a refusal of one statement is passed over",
        WRITER,
        "        if code != _THERE and code not in _PASSING_OF_ONE:\n",
        "        if False:\n",
        (TEST_WRITER,),
    ),
    Mutant(
        "of one rev the earlier row replaces the later",
        ITEMS,
        "#offset <= :offset",
        "#offset >= :offset",
        (TEST_WRITER,),
    ),
    Mutant(
        "writes of one key do not wait for each other",
        WRITER,
        "        turn = seen[write.key]\n",
        "        turn = 0\n",
        (TEST_WRITER,),
    ),
    # Reports
    Mutant(
        "the report of an earlier life passes for this one's",
        REPORTS,
        "return written is not None and written >= status.finished_at",
        "return written is not None",
        (TEST_REPORTS,),
    ),
    Mutant(
        "the folder shows the job that was reported last",
        REPORTS,
        "not _ended_later(destination / FOLDER, status.finished_at)",
        "status.job_id",
        (TEST_REPORTS,),
    ),
    Mutant(
        "outcomes of an earlier life are listed",
        REPORTS,
        "partition, spec.submitted_at)",
        "partition, spec.submitted_at.replace(year=2000))",
        (TEST_REPORTS,),
    ),
    Mutant(
        "what the dead left lies there for ever",
        REPORTS,
        "            left.unlink(missing_ok=True)\n",
        "            pass\n",
        (TEST_REPORTS,),
    ),
    Mutant(
        "the summary of an earlier end stands beside the new accounts",
        REPORTS,
        "        (folder / SUMMARY).unlink(missing_ok=True)",
        "        pass",
        (TEST_REPORTS,),
    ),
    Mutant(
        "an attempt that is to be repeated has a row",
        TERMINAL,
        ' and outcome.status != "retrying"',
        "",
        (TEST_REPORTS,),
    ),
    Mutant(
        "a report's bytes tell when it was written",
        ACCOUNTS,
        "mtime=0)",
        "mtime=None)",
        (TEST_REPORTS,),
    ),
    # Lag and metrics
    Mutant(
        "an unknown lag is shown as none",
        LAG,
        "if self.committed is None or self.end is None:\n            return None",
        "if self.committed is None or self.end is None:\n            return 0",
        (TEST_LAG,),
    ),
    Mutant(
        "the lag stops at the committed end",
        LAG,
        "committed=False, patience",
        "committed=True, patience",
        (TEST_LAG,),
    ),
    Mutant(
        "a sum hides what is unknown",
        LAG,
        "        len(parts) - len(known),\n",
        "        0,\n",
        (TEST_LAG,),
    ),
    Mutant(
        "a lag that grows is gone some day",
        LAG,
        "self.trend >= 0",
        "self.trend == 0",
        (TEST_LAG,),
    ),
    Mutant(
        "looks of long ago make the trend",
        LAG,
        "while now - past[0][0] > TREND_SECONDS:",
        "while False:",
        (TEST_LAG,),
    ),
    Mutant(
        "what is unknown is scraped as 0",
        METRICS,
        "{} if (value := read()) is None else {(): value}",
        "{(): read() or 0.0}",
        (TEST_METRICS,),
    ),
    Mutant(
        "one reading that fails takes the scrape along",
        METRICS,
        "            except Exception as error:\n",
        "            except KeyError as error:\n",
        (TEST_METRICS,),
    ),
    Mutant(
        "a reading that fails half way is shown in part",
        METRICS,
        "                family = _family(metric)\n            yield family",
        "            yield family",
        (TEST_METRICS,),
    ),
    # The judges themselves
    Mutant(
        "the comparison overlooks what is there twice",
        COMPARE,
        "        seen.add(row.uri)\n",
        "",
        (TEST_COMPARE,),
    ),
    Mutant(
        "the comparison overlooks what is lost",
        COMPARE,
        "for uri in expected.keys() - seen:",
        "for uri in seen - expected.keys():",
        (TEST_COMPARE,),
    ),
    Mutant(
        "the comparison looks at no content",
        COMPARE,
        "elif wanted.cid != row.cid or wanted.record != orjson.loads(row.record):",
        "elif wanted.cid != row.cid:",
        (TEST_COMPARE,),
    ),
    Mutant(
        "the network's ledger loses requests",
        LEDGER,
        "self._by_host[request.host, request.method, request.status, request.ending] += 1",
        "self._by_host[request.host, request.method, request.status, request.ending] = 1",
        (TEST_LEDGER,),
    ),
    Mutant(
        "the network's ledger never sees two requests at once",
        LEDGER,
        "self._in_flight[host] += 1\n",
        "self._in_flight[host] = 1\n",
        (TEST_LEDGER,),
    ),
    Mutant(
        "a window is one hop too long",
        RATE_WINDOWS,
        "if not last - self._length < p <= last + 1]:",
        "if not last - self._length <= p <= last + 1]:",
        (TEST_RATE_WINDOWS,),
    ),
    Mutant(
        "a window never forgets",
        RATE_WINDOWS,
        "            del self._hops[place]\n",
        "            pass\n",
        (TEST_RATE_WINDOWS,),
    ),
    Mutant(
        "rates of a job that has gone quiet stay as they were",
        RATE_BOOK,
        "job.moving = rates.windows[0].repositories > 0 or bool(rates.windows[0].errors)",
        "job.moving = False",
        (TEST_RATE_BOOK,),
    ),
    Mutant(
        "a group is set back without bound",
        REWIND,
        "max(found[partition], end - most, 0)",
        "found[partition]",
        (TEST_REWIND,),
    ),
    Mutant(
        "an operation that was nullified counts in the mirror",
        PLC,
        "        if self.nullified:\n            return False\n",
        "",
        (TEST_PLC,),
    ),
    Mutant(
        "the mirror's clock counts more than the log's numbers",
        PLC,
        "        if self.seq is not None and seq is not None:\n            return self.seq >= seq\n",
        "",
        (TEST_PLC,),
    ),
    Mutant(
        "a gap between a mirror and a file goes unnoticed",
        PLC,
        "return operation.seq <= self.seq + 1",
        "return True",
        (TEST_PLC,),
    ),
    Mutant(
        "the mirror's position is saved before its operations",
        MIRROR_WRITER,
        "            self._store(counting)\n            seq, created = position or (None, None)\n",
        "            seq, created = position or (None, None)\n"
        '            self._db.execute("UPDATE progress SET seq = ?, created = ?", (seq, created))\n'
        '            self._db.execute("COMMIT")\n'
        '            self._db.execute("BEGIN IMMEDIATE")\n'
        "            self._store(counting)\n",
        (TEST_PLC_SYNC,),
    ),
    Mutant(
        "a mirror that is years behind answers",
        MIRROR,
        "age is not None and age <= MOST_AGE",
        "age is not None",
        (TEST_MIRROR,),
    ),
    Mutant(
        "a sync passes its limit",
        PLC_SYNC,
        'self._limiter.turn("export", _JOB, self._rate)',
        'self._limiter.turn("export", _JOB, 2 * self._rate)',
        (TEST_PLC_SYNC,),
    ),
    Mutant(
        "what has to be fresh comes from the mirror",
        IDENTITY,
        "mirrored = None if fresh else self._mirrored(name)",
        "mirrored = self._mirrored(name)",
        (TEST_IDENTITY_MIRROR,),
    ),
    # Strategies
    Mutant(
        "a listed record is believed",
        LISTING,
        "if (found := cid.of_dag_cbor(block)) != wanted:",
        "if (found := cid.of_dag_cbor(block)) == b'':",
        (TEST_LIST,),
    ),
    Mutant(
        "a repository may move while its pages are listed",
        LIST,
        'if after.body["rev"] == before.body["rev"]:',
        "if True:",
        (TEST_LIST,),
    ),
    Mutant(
        "any cursor is taken for a key",
        LIST,
        "if may_jump and newest_first and following == last:",
        "if may_jump and newest_first:",
        (TEST_LIST,),
    ),
    Mutant(
        "a cursor that led elsewhere is trusted on",
        LIST,
        "cursor, may_jump = unjumped, False",
        "cursor, may_jump = None, True",
        (TEST_LIST,),
    ),
    Mutant(
        "a failed proof is listed instead",
        AUTO,
        "except XrpcError as error:\n            if not self._is_final(order, error):",
        "except Exception as error:\n            if not self._is_final(order, error):",
        (TEST_AUTO,),
    ),
    Mutant(
        "a node that was lost on the way counts as unchanged",
        DIFF,
        "if len(seen) != len(blocks):",
        "if len(seen) > len(blocks):",
        (TEST_DIFF,),
    ),
    Mutant(
        "a new record without its block counts as unchanged",
        DIFF,
        "if tid.is_tid(rkey) and rkey > known.rev:",
        "if False:",
        (TEST_DIFF,),
    ),
    Mutant(
        "any commit without blocks counts as unchanged",
        DIFF,
        "if root == known.commit:",
        "if root == known.commit or len(blocks) == 0:",
        (TEST_DIFF,),
    ),
    # What is there already
    Mutant(
        "a view's rows and positions are not one transaction",
        STORED_VIEW,
        'self._rows.execute("BEGIN")\n            self._rows.executemany(',
        "self._rows.executemany(",
        (TEST_STORED_VIEW,),
    ),
    Mutant(
        "a view goes on with another topic's rows",
        STORED_VIEW,
        'if about.get("topic_id") != found:',
        'if about.get("topic_id") is None:',
        (TEST_STORED_VIEW,),
    ),
    Mutant(
        "a deletion is kept",
        STORED_VIEW,
        "DELETE FROM latest WHERE key = ?",
        "SELECT * FROM latest WHERE key = ?",
        (TEST_STORED_VIEW,),
    ),
    Mutant(
        "an account that the source knows a later rev of is skipped",
        EXISTING,
        'return "skip" if is_current or rev is None else "fetch"',
        'return "skip"',
        (TEST_EXISTING,),
    ),
    # Replays
    Mutant(
        "a replayed letter leaves no trace",
        REPLAYS,
        "        found += [(names.replays, trace.letter, trace) for trace in self.traces]\n",
        "",
        (TEST_REPLAYS,),
    ),
    Mutant(
        "a host's accounts are gathered and nothing says how far",
        LOOKUPS,
        "return found + [(names.replays, trace.letter, trace) for trace in self.traces]",
        "return found",
        (TEST_REPLAYS, TEST_REPLAYS_KILLED),
    ),
    Mutant(
        "a host's letter begins anew each time",
        REPLAYS,
        "begin = max(begin, self._traces.dealt_with(spec.job_id, host, letter.reason))",
        "begin = max(begin, 0)",
        (TEST_REPLAYS,),
    ),
    Mutant(
        "a replay's tasks are committed ahead of what announces them",
        PLANNER,
        "        self._publish([*verdict.publications(self._names), *following])\n",
        "        self._publish(following)\n        if following:\n            self._publisher.commit()\n"
        "        self._publish(verdict.publications(self._names))\n",
        (TEST_REPLAYS_KILLED,),
    ),
    Mutant(
        "a replayed account counts twice",
        BOOK,
        '    if outcome.replaces is not None and outcome.status != "retrying":\n',
        '    if outcome.replaces is not None and outcome.status == "completed":\n',
        (TEST_BOOK_REPLAYS,),
    ),
    Mutant(
        "a replay that nobody announced is counted",
        BOOK,
        "if outcome.replaces is not None and not ledger.replaying:",
        "if outcome.replaces is not None and ledger.replaying < 0:",
        (TEST_BOOK_REPLAYS,),
    ),
    Mutant(
        "a report keeps the row that a replay replaced",
        ACCOUNTS,
        "if outcome.replay < replaced.get(outcome.did, 0):",
        "if outcome.replay < 0:",
        (TEST_REPORTS,),
    ),
    Mutant(
        "a replay's tasks end unasked at a host that was given up",
        FETCH_HOSTS,
        "if task.replay > self.replays.get(task.job_id, 0):",
        "if task.replay < 0:",
        (TEST_CLEARING,),
    ),
    Mutant(
        "a notice has one id however often its job ends",
        NOTICES,
        "str(round(occurred_at.timestamp() * 1000)), target.key))",
        '"0", target.key))',
        (TEST_NOTICES,),
    ),
    Mutant(
        "a document's webhook may lead to a private address",
        NOTICE_POST,
        "total=self._seconds, trusted=target.trusted",
        "total=self._seconds, trusted=True",
        (TEST_NOTICES,),
    ),
    Mutant(
        "a notice is given up where its receiver is down for a minute",
        NOTICE_POST,
        "next_at if next_at <= first_at + PATIENCE else None",
        "next_at if attempts < 3 else None",
        (TEST_NOTICES,),
    ),
    Mutant(
        "what a notifier left pending is not told by its successor",
        NOTICE_BOOK,
        "for delivery in [*self._deliveries.items.values(), *self._written.values()]:",
        "for delivery in self._written.values():",
        (TEST_NOTIFIER,),
    ),
    Mutant(
        "a delivery is not written, so a successor tells again",
        NOTICE_BOOK,
        "self._write((delivery.id, delivery.job_id, delivery.encode()) for delivery in done)\n        for",
        "self._write(())\n        for",
        (TEST_NOTIFIER,),
    ),
    Mutant(
        "an error shows what stands in a secret's place",
        DOCUMENT,
        '"what stands there" if described.holds_secret(schema) else _shown(value)',
        "_shown(value)",
        (TEST_SECRETS,),
    ),
    Mutant(
        "the dead letter of a refused command shows its secrets",
        COMMANDS,
        'masked_json(self.value.decode("utf-8", "replace"))',
        'self.value.decode("utf-8", "replace")',
        (TEST_SECRETS,),
    ),
    Mutant(
        "two stores with credentials of their own are one destination",
        DYNAMODB,
        "    if not any(references):\n",
        "    if references:\n",
        (TEST_OWN_CREDENTIALS,),
    ),
)
