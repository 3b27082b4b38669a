//! What `doclock run --help` says beside the options.

pub(super) const ABOUT: &str = "\
Run a command while holding a lock

Waits for the lock, runs the command, and gives the lock back when the command
ends. The lock is a lease: it is renewed in the background, and if this machine
dies, others get it after --ttl.";

pub(super) const EXAMPLES: &str = "\
Examples:
  doclock run nightly-report -- ./report.sh
  doclock run --no-wait backup -- pg_dump -f /backup/db.sql
  doclock run --permits 3 --wait 10m encoder -- ffmpeg -i in.mov out.mp4
  doclock run --once-per 1h invoices -- ./send-invoices   # from every crontab

See --help for what is promised, and for the exit codes.";

pub(super) const DETAILS: &str = "\
Examples:
  One at a time, over all machines that use the same URL:
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
  A service that refuses what comes late, by the fencing token:
    doclock run k -- sh -c './import --fencing-token \"$DOCLOCK_TOKEN\"'

The command:
  It has the stdin, stdout and stderr of `doclock run`, and in its environment
  DOCLOCK_KEY, DOCLOCK_TOKEN (greater than that of every earlier holder) and
  DOCLOCK_OWNER.

  SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 and SIGWINCH are passed on
  to it and to what it has started. While `doclock run` waits for the lock, they
  end it, and it gives up its place. Ctrl-Z does not suspend the command: the
  lock would stay taken.

  What the command leaves running in its process group is killed when it ends,
  before the lock is given back.

What is promised:
  The command does not go on without the lock. If the lease cannot be renewed,
  or --max-hold is over, the command and all of its process group get SIGTERM an
  eighth of the ttl (10 seconds at most) before the lease ends, and SIGKILL when
  it ends: before anybody else can get the lock. So too if `doclock run` itself
  is stopped; if it is killed, SIGTERM comes at once. If the lock was taken away,
  as by an operator, it is SIGKILL at once.

  Not promised: what leaves the process group, such as a daemon, or has another
  user's rights, as by sudo, is out of reach. So is what is already on its way to
  another machine: pass DOCLOCK_TOKEN along where that does harm.

Once in each slot:
  With --once-per or --slot, a slot that has run already, on whichever machine,
  is no failure: a line on stderr, and exit code 0. It has run whatever became of
  it, unless --at-least-once: then the next call runs it again, until the command
  has succeeded (exit code 0).

Exit codes:
  That of the command, or 128 and the number of the signal that ended it, or
   64  the arguments make no sense
   65  something else than a lock lies under the key
   69  the database cannot be reached, or does not answer
   70  any other failure
   75  others held the lock for all of the wait (see --busy-exit-code)
   76  the lock was lost, or its guard was killed, and the command was ended
   78  the URL, the table or the rights are not as they must be
  126  the command cannot be run
  127  the command is not found

Durations are written 500ms, 30s, 5m, 1h30m or 2days.";
