package logstore

import (
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/binrec"
)

// counts are requests as a Bucket counts them.
type counts struct{ served, blocked, other int64 }

func (c *counts) add(rec binrec.Record) {
	c.addTo(placeOf(rec.Status(), rec.Verdict()), rec.Requests())
}

// The places of counts.
const (
	nowhere     = -1
	servedPlace = iota - 1
	blockedPlace
	otherPlace
)

// placeOf returns which of the counts a request belongs to.
func placeOf(status int, verdict ipallow.Verdict) int8 {
	switch {
	case !turnedAway(status, verdict):
		return servedPlace
	case status == 403 && verdict == ipallow.Denied:
		return blockedPlace
	}
	return otherPlace
}

func (c *counts) addTo(place int8, n int64) {
	switch place {
	case servedPlace:
		c.served += n
	case blockedPlace:
		c.blocked += n
	default:
		c.other += n
	}
}

// wasServed reports whether the request was let through, as Seen counts it.
func wasServed(rec binrec.Record) bool {
	return rec.Verdict().OK() || !turnedAway(rec.Status(), rec.Verdict())
}

// turnedAway reports whether the gateway refused the request: by 401 or 403, or
// by 503 because it did not know enough. An upstream's 503 has another verdict, unless the
// key's list is only watched.
func turnedAway(status int, verdict ipallow.Verdict) bool {
	switch status {
	case 401, 403:
		return true
	case 503:
		return verdict == ipallow.Denied
	}
	return false
}
