//! What `doclock run --help` says beside the options.

pub(super) const ABOUT: &str = "\
Run a command while holding a lock

Waits for the lock, runs the command, and gives the lock back when the command ends. The lock is a lease: it is \
renewed in the background, and if this machine dies, others get it after --ttl.";

pub(super) const EXAMPLES: &str = "\
Examples:
  doclock run nightly-report -- ./report.sh
  doclock run --no-wait backup -- pg_dump -f /backup/db.sql
  doclock run --permits 3 --wait 10m encoder -- ffmpeg -i in.mov out.mp4
  doclock run --once-per 1h invoices -- ./send-invoices   # from every machine's crontab

See --help for what is promised, and for the exit codes.";

pub(super) const DETAILS: &str = "\
Examples:
  One at a time, over all machines that use the same URL; others wait for 30 seconds:
    doclock run nightly-report -- ./report.sh
  Not at all if another has it (exit code 75), or wait as long as it takes:
    doclock run --no-wait backup -- pg_dump -f /backup/db.sql
    doclock run --wait forever migrate -- ./migrate up
  At most three at once:
    doclock run --permits 3 --wait 10m encoder -- ffmpeg -i in.mov out.mp4
  Readers beside each other, and a writer alone:
    doclock run --shared catalogue -- ./export
    doclock run catalogue -- ./import
  From every machine's crontab, and once in each hour:
    doclock run --once-per 1h invoices -- ./send-invoices
  A pipeline or a redirection needs a shell:
    doclock run k -- sh -c 'n=$(cat f); echo $((n+1)) > f'
  A database that refuses what comes late, by the fencing token:
    doclock run k -- sh -c './import --fencing-token \"$DOCLOCK_TOKEN\"'

The command:
  It has the stdin, stdout and stderr of `doclock run`, and in its environment DOCLOCK_KEY, DOCLOCK_TOKEN (greater than \
that of every earlier holder) and DOCLOCK_OWNER.
  SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and SIGWINCH are passed on to it and to what it has started. While \
it waits for the lock, they end `doclock run`, which gives up its place. Ctrl-Z does not suspend it: the lock would stay \
taken.
  What it leaves running in its process group is killed when it ends, before the lock is given back.

What is promised:
  The command does not go on without the lock. If the lease cannot be renewed, or --max-hold is over, the command gets \
SIGTERM an eighth of the ttl (at most 10 seconds) before the end of the lease, and SIGKILL at its end, with its whole \
process group: before anybody else can get the lock. If the lock was taken away (released by force), it is SIGKILL at \
once. So too if `doclock run` itself is stopped; if it is killed, SIGTERM comes at once.
  Not promised: what leaves the process group, such as a daemon, is out of reach; so is what is already on its way to \
another machine. Pass DOCLOCK_TOKEN along where that does harm.

Once in each slot:
  With --once-per or --slot, a slot that has run already, on whichever machine, is no failure: a line on stderr, and exit \
code 0. It has run whatever became of it, unless --at-least-once: then it is run again at the next call until the command \
has succeeded (exit code 0).

Exit codes:
  That of the command, or 128 and the number of the signal that ended it; otherwise
   64  the arguments make no sense
   65  something else than a lock lies under the key
   69  the database cannot be reached, or does not answer
   70  any other failure
   75  others held the lock for all of the wait (see --busy-exit-code)
   76  the lock was lost, or its guard was killed, and the command was ended
   78  the URL, the table or the rights are not as they must be
  126  the command cannot be run
  127  the command is not found";
