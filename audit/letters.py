"""Messages that a consumer gave up on."""

from audit.log import Progress
from audit.report import Finding, Offender, away

KEY = "messages.dead"
TITLE = "no message was given up on"


def judge(progress: Progress | None) -> Finding:
    """Counts the dead-letter topic; each one is for a person to look at."""
    if progress is None:
        return away(KEY, TITLE, "Kafka is away", needs_quiet=False)
    count = progress.dead_letters
    told = (Offender("dead-letters", f"{count} messages; see `surge saga dead-letters list`"),) if count else ()
    return Finding(KEY, TITLE, {"dead letters": count}, told, count, warning=True)
