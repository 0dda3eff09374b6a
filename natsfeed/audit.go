package natsfeed

import "time"

// An audit compares what the feed has seen with what the server says that the
// stream held at one sequence: as many names, none missing. It is how a load
// knows that it is complete, and how a feed knows that it is up to date.
//
// The answer arrives when the feed may be anywhere, before that sequence or
// behind it. So the numbers of names are noted after every message from the
// question on, and looked up when both are known.
type audit struct {
	from   uint64  // where the feed was when it asked
	log    []point // since then; the last one is where the feed is
	open   bool    // asked, and neither settled nor dropped
	known  bool    // the answer is there:
	target uint64  //   the stream's last sequence
	names  int     //   its names
	at     time.Time
	misses int  // audits in a row that did not add up
	again  bool // another one is wanted at once
}

// A point is how many names there are after a message.
type point struct {
	seq             uint64
	stored, markers int
}

// maxPoints bounds the notes of one audit. It is dropped beyond, and another
// one begins.
const maxPoints = 1 << 16

func (a *audit) begin(seq uint64, t *tracker) {
	*a = audit{from: seq, log: a.log[:0], open: true, misses: a.misses}
	a.note(seq, t)
}

// note is called after each message.
func (a *audit) note(seq uint64, t *tracker) {
	if !a.open {
		return
	}
	if len(a.log) == maxPoints {
		a.open, a.again = false, true
		return
	}
	if a.known && seq <= a.target {
		a.log = a.log[:0] // only the last point before the target counts
	}
	a.log = append(a.log, point{seq, t.stored(), t.markers()})
}

// answer is called with the server's answer.
func (a *audit) answer(last uint64, names int, at time.Time) {
	if a.open {
		a.known, a.target, a.names, a.at = true, last, names, at
	}
}

// due reports whether the answer is there and the feed is behind it.
func (a *audit) due() bool { return a.open && a.known && a.log[len(a.log)-1].seq < a.target }

// skip is called when it is certain that the stream has nothing between the
// feed and the target.
func (a *audit) skip() {
	if a.due() {
		a.log[len(a.log)-1].seq = a.target
	}
}

// result returns the counts at the target once they are known, and ends the
// audit.
func (a *audit) result() (p point, ok bool) {
	if !a.open || !a.known || a.due() {
		return point{}, false
	}
	a.open = false
	for i := len(a.log) - 1; i >= 0; i-- {
		if a.log[i].seq <= a.target {
			return a.log[i], true
		}
	}
	a.again = true // it began behind the target: another server answered
	return point{}, false
}
