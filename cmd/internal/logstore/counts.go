package logstore

import (
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// counts are records as a Bucket counts them.
type counts struct{ served, blocked, other int64 }

func (c *counts) add(rec usagelog.Binary) {
	switch status := rec.Status(); {
	case !turnedAway(rec):
		c.served++
	case status == 403 && rec.Verdict() == ipallow.Denied:
		c.blocked++
	default:
		c.other++
	}
}

// wasServed reports whether the request was let through, as Seen counts it.
func wasServed(rec usagelog.Binary) bool {
	return rec.Verdict().OK() || !turnedAway(rec)
}

// turnedAway reports whether the gateway refused the request: by 401 or 403, or
// by 503 because it did not know enough. An upstream's 503 has another verdict, unless the
// key's list is only watched.
func turnedAway(rec usagelog.Binary) bool {
	switch rec.Status() {
	case 401, 403:
		return true
	case 503:
		return rec.Verdict() == ipallow.Denied
	}
	return false
}
