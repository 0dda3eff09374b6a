package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// A Call is what a front end knows of a request.
type Call struct {
	Header Header
	Method string // empty where it is not known, which needs the scope write
	Client clientip.Result
	Time   time.Time
}

// A Decision is what becomes of a Call.
type Decision struct {
	Key     *keyring.Key    // nil: no key was recognised
	Verdict ipallow.Verdict // the engine's, also where the scope refused; Denied without a key
	Refusal *Answer         // nil: the request is served

	// Entry is the one that let the client's address in, with its label, or the zero
	// Entry. It is of the same snapshot as Verdict, and found where there is a log.
	Entry ipallow.Entry

	// Measured says that Verdict is the engine's: a key was recognised, and what
	// is known of it is not too old.
	Measured bool
}

// Note puts the decision into the record of the request.
func (d *Decision) Note(r *usagelog.Record) {
	r.Verdict, r.Entry, r.Label = d.Verdict, d.Entry.Prefix, d.Entry.Label
	if d.Key != nil {
		r.KeyID = d.Key.ID
	}
}

// Admit decides on a request: authentication, scope, allowlist, in this order.
// It marks the key as used if the request is served, and changes nothing else.
func (g *Gateway) Admit(c Call) Decision {
	var d Decision
	if !g.ready() {
		d.Refusal = notLoaded // nobody knows whether the key is one
		return d
	}
	// Asked before anything is looked up: what is found then is no older.
	stale := g.usable != nil && !g.usable()
	var lists *ipallow.Snapshot
	for {
		d.Key, d.Refusal = g.authenticate(c.Header)
		if stale && (d.Refusal == nil || d.Refusal == invalidKey) {
			// A key may have been revoked, and one that is not known may have
			// been made since.
			return Decision{Key: d.Key, Refusal: tooOld}
		}
		if d.Refusal != nil {
			return Decision{Refusal: d.Refusal}
		}
		d.Verdict = ipallow.Unrestricted
		if !g.noAllowlist {
			lists = g.engine.Snapshot()
			d.Verdict = lists.Check(d.Key.ID, c.Client.Addr)
		}
		// A key that was changed or revoked in between may have been measured
		// by a list that it never had, or by none. Whoever changes both takes
		// the key out of the ring before its list changes.
		if g.ring.Get(d.Key.ID) == d.Key {
			break
		}
	}
	d.Measured = true
	if d.Verdict == ipallow.Allowed && g.log != nil {
		d.Entry = lists.Explain(d.Key.ID, c.Client.Addr).Entry
	}
	switch {
	case !permits(d.Key, &c):
		d.Refusal = insufficientScope(d.Key, c.Method)
	case !d.Verdict.OK() && !g.reportOnly && !d.Key.ReportOnly:
		d.Refusal = notAllowed
	case c.Method == http.MethodConnect || c.Method == http.MethodTrace:
		// For proxies, and for loops. An API that answers CONNECT as any other method has
		// the proxy in front open a tunnel to it, for requests about which nobody asks.
		d.Refusal = methodNotAllowed
	default:
		d.Key.Used(c.Time)
	}
	return d
}

// ready reports whether keys and lists are loaded. An engine that is loaded stays
// so, and later verdicts of the same request need not ask again.
func (g *Gateway) ready() bool {
	return (g.loaded == nil || g.loaded()) && (g.noAllowlist || g.engine.Snapshot().Loaded())
}

func permits(k *keyring.Key, c *Call) bool {
	const both = keyring.Read | keyring.Write
	return k.Scopes&both == both ||
		k.Scopes.Permits(c.Method) && !readsElsewhere(c.Method) && !c.Header.Any(overridesMethod)
}

// readsElsewhere reports whether a method needs the scope write by its case alone.
// Methods have case (RFC 9110, section 9.1), but Django, Werkzeug and Symfony make GET of get.
func readsElsewhere(method string) bool {
	upper := strings.ToUpper(method)
	return upper != method && keyring.Read.Permits(upper)
}
