package natsfeed

import (
	"encoding/binary"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"time"
)

// A proof says how old what is in force may be: age, when it was taken.
type proof struct {
	at  time.Time // by this process's clocks; zero: there is none
	age time.Duration
}

// staleness returns how old what is in force may be by now; negative: nobody
// knows.
func (p proof) staleness() time.Duration {
	if p.at.IsZero() || p.age < 0 {
		return -1
	}
	return p.age + elapsed(p.at, time.Now())
}

// elapsed returns the time from one reading of the clocks to another: what the
// monotonic clock says, which nobody sets, or the calendar, whichever is more. The monotonic clock
// alone would not count the time that a machine sleeps.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)), 0)
}

// A mark is what a checkpoint says of its age: how old it was, and what the
// clocks said then.
type mark struct {
	age  time.Duration // negative: not known
	wall time.Time
	boot uint64        // the machine's start; 0: not known
	up   time.Duration // since then, sleep included
}

// marked returns the mark of what has this age now.
func marked(age time.Duration) mark {
	boot, up := uptime()
	return mark{age: age, wall: time.Now().Round(0), boot: boot, up: up}
}

// at returns how old what had this mark is at another reading of the clocks;
// negative: nobody knows.
//
// Between two marks the calendar is trusted, unless it is found to be wrong: within one
// start of the machine its uptime tells as much without being set, and a machine
// that was started since was down and up at least as long as it is up. A calendar
// that is behind the mark, on a machine that was started since, tells nothing.
func (m mark) at(now mark) time.Duration {
	if m.age < 0 || m.wall.IsZero() {
		return -1
	}
	since := now.wall.Sub(m.wall)
	switch {
	case m.boot != 0 && m.boot == now.boot && now.up >= m.up:
		since = max(since, now.up-m.up)
	case since < 0:
		return -1
	case m.boot != 0:
		since = max(since, now.up)
	}
	return m.age + since
}

// uptime returns a number that names this start of the machine, and the time since,
// as Linux tells them. Elsewhere it returns 0 and 0.
func uptime() (boot uint64, up time.Duration) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, 0
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || seconds < 0 {
		return 0, 0
	}
	h := fnv.New64a()
	h.Write(id)
	return max(h.Sum64(), 1), time.Duration(seconds * float64(time.Second))
}

// appendMark appends a mark, markSize bytes. An unknown age is all ones.
func appendMark(b []byte, m mark) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(m.age))
	b = le.AppendUint64(b, nanos(m.wall))
	b = le.AppendUint64(b, m.boot)
	return le.AppendUint64(b, uint64(m.up))
}

const markSize = 32

func readMark(s string) mark {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64([]byte(s[8*i:])) }
	return mark{age: time.Duration(at(0)), wall: fromNanos(at(1)), boot: at(2), up: time.Duration(at(3))}
}
