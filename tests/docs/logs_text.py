"""The words of docs/logs.md that no code holds."""

HEAD = """\
# The log

Written by `python -m tests.docs.logs_page` from the code. Research use only, not for diagnosis.

One JSON object a line on standard error, of the node and of every process it starts (`journalctl -u lungnode -o cat`).
Each has `at` (UTC), `level`, `room` (the module), `event` and `process`; the rest is in the table. The names of events
and fields stay as they are from version to version: alarms may stand on them. No line holds a name, an identifier or
anything else of a patient beyond UIDs; what an exception of a library says is left out, since it may quote a data set.

Levels: ERROR wants a person, WARNING is worth a look, INFO tells what happens (`node.log_level`).

| event | level | fields | what happened |
|---|---|---|---|
"""
TAIL = """
To follow one study: `journalctl -u lungnode -o cat | grep STUDY_UID`, or in sentences `lungnode status STUDY_UID`. To
follow one sender: its `association.opened` has the `association` that stands in each `instance.stored` and
`instance.refused`.
"""
MEANINGS = {
    "api.failed": "a question to the API ended in an error of ours, answered 500",
    "api.not_answered": "a question to the API could not be answered for the database, answered 503",
    "archive.cleared": "files that no row names, left by a crash, were removed",
    "archive.damaged": "an object of the bucket has other bytes than were stored, read twice; it counts as absent",
    "archive.failed": "the disk failed while an object was kept; the sender was told to try again",
    "archive.not_ours": "another database used the bucket since: nothing is cleared away from it, see cluster.md",
    "archive.not_cleared": "another process keeps a folder of the archive; it is left as it is",
    "archive.too_many_strays": "more files have no row than a crash leaves: they stay. Is the database an older one?",
    "association.broken": "a peer broke the protocol or the connection",
    "association.closed": "released or aborted",
    "association.failed": "no association could be had with a peer",
    "association.opened": "accepted; the id stands in what follows of it",
    "association.rejected": "not accepted, and why",
    "association.stray_answer": "a peer answered what was not asked, or twice; dropped",
    "audit.not_sent": "the audit collector takes nothing; it is tried again",
    "audit.not_written": "the audit trail could not be written, so the request was answered 503",
    "board.failed": "the files by which receivers know of each other could not be changed",
    "clock.set_back": "the system clock was set back; what waited goes on",
    "commitment.answered": "a destination said what it committed",
    "commitment.asked": "a peer asked us to commit instances, or we were told to report",
    "commitment.failed": "a commitment could not be handled",
    "commitment.not_ours": "a report on a transaction that this node does not know; another with its AE title may",
    "commitment.requested": "a destination was asked to commit what it took",
    "configuration.refused": "new settings cannot be used; those before stay in use",
    "configuration.reloaded": "new settings are in use",
    "connection.not_taken": "a connection could not be accepted by the system",
    "delivery.committing": "a destination took a result and has to commit it",
    "delivery.delivered": "a destination took a result",
    "delivery.failed": "one result was given up; or, with a traceback, a turn of delivery broke off and is done again",
    "delivery.held": "a result is not sent, since something is wrong with it",
    "delivery.refused": "a destination does not take a result in any form",
    "delivery.replaced": "a result goes in another form, since the destination does not take its class",
    "delivery.waiting": "a result was not taken; it is tried again",
    "destination.away": "a destination has not answered several times; it is probed from now on",
    "destination.back": "it answers again",
    "dicomweb.broken_off": "an answer of DICOMweb could not be ended",
    "dicomweb.failed": "a request to DICOMweb ended in an error of ours, answered 500",
    "dicomweb.file_missing": "a row has no file in the archive",
    "dicomweb.store_broken_off": "a client ended its upload before the end",
    "duty.failed": "periodic work failed; it is done again at its next turn",
    "http.answered": "a request over HTTP was answered",
    "instance.duplicate": "an object came again; nothing changed",
    "instance.failed": "an object could not be received for an error of ours",
    "instance.refused": "an object was answered with a failure status",
    "instance.stored": "an object is durable",
    "job.done": "a job ended",
    "job.failed": "an attempt of a job failed; it is tried again or given up",
    "job.started": "a worker began an attempt",
    "jobs.adopted": "jobs of a node that is gone are done by this one",
    "login.not_answered": "a login could not be handled for the database",
    "member.joined": "this node takes part in a cluster",
    "member.lost": "another node was not heard of for its lease; what it was at is free again",
    "member.not_heard": "this node could not say that it lives",
    "member.not_left": "this node could not say that it ends",
    "member.rejoined": "this node was taken for dead, and takes part again",
    "model.not_loaded": "a model cannot be used; results say so",
    "node.draining": "the node was asked to end and finishes what it is at",
    "node.started": "all ports are open",
    "node.stopped": "it ended as it was asked to",
    "page.failed": "a page ended in an error of ours",
    "page.not_answered": "a page could not be shown for the database",
    "prior.fetched": "a prior of a study came from its source",
    "priors.not_fetched": "priors did not come; they are asked for again",
    "query.answered": "a C-FIND or QIDO-RS query was answered",
    "query.cancelled": "its requester ended a C-FIND, or is gone",
    "query.failed": "a C-FIND could not be handled",
    "query.limited": "a C-FIND had more matches than `query.max_matches`",
    "query.refused": "a C-FIND could not be answered now, and why",
    "receiver.died": "a process that receives ended by itself; it is started again",
    "receiver.killed": "it did not end in time when the node stopped",
    "receiver.listening": "it takes associations",
    "receiver.ordinary": "the quick way of receiving cannot be used; objects are received by pynetdicom as it is",
    "receiver.silent": "it did not tell for half a minute that it lives: it was stopped or hangs, and is killed",
    "receiver.started": "a process that receives was started",
    "refusal.not_written": "a refusal could not be written down",
    "report.not_simpler": "a report could not be put into a simpler form",
    "retention.held": "retention removes less than its rules say, and why",
    "retrieve.answered": "a C-MOVE or C-GET ended",
    "retrieve.failed": "it could not be handled",
    "retrieve.refused": "it was answered with a failure status",
    "study.analysed": "results are committed; seconds by stage",
    "study.closed": "a study is complete; overdue: by the hard limit",
    "study.removed": "retention removed the files of a study",
    "thread.failed": "a thread ended in an error of ours",
    "tls.not_renewed": "a new certificate could not be used; the former one is",
    "tls.refused": "a TLS connection was not established",
    "tls.renewed": "a new certificate is used",
    "tracing.not_sent": "the collector of traces takes nothing; said once",
    "tracing.sent_again": "it takes spans again",
    "web.certificate_not_renewed": "as `tls.not_renewed`, of the HTTP port",
    "web.certificate_renewed": "as `tls.renewed`, of the HTTP port",
    "client.cut_off": "an HTTP client was too slow or its header had no end",
    "worker.cannot_claim": "the queue could not be asked for the next job",
    "worker.cannot_give_back": "a failed job could not be written down; the supervisor releases it",
    "worker.cannot_listen": "the database's notices of new jobs cannot be heard; the queue is asked in turn",
    "worker.died": "an analysis process ended by itself; it is started again",
    "worker.killed": "it did not end in time when the node stopped",
    "worker.ready": "its models are loaded",
    "worker.silent": "it did not tell for five minutes that it lives: it was stopped or hangs, and is killed",
    "worker.started": "an analysis process was started",
}
