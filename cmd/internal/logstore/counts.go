package logstore

import (
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// counts are records as a Bucket counts them.
type counts struct{ served, blocked, other int64 }

func (c *counts) add(rec usagelog.Binary) {
	switch status := rec.Status(); {
	case status != 401 && status != 403:
		c.served++
	case status == 403 && rec.Verdict() == ipallow.Denied:
		c.blocked++
	default:
		c.other++
	}
}

// wasServed reports whether the request was let through, as Seen counts it.
func wasServed(rec usagelog.Binary) bool {
	status := rec.Status()
	return rec.Verdict().OK() || status != 401 && status != 403
}
