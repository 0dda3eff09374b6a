package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// An Adoptee is a database that is to become the fleet's.
type Adoptee interface {
	Claimant
	Key(ctx context.Context, id string) (manage.Key, error)
	Publications(ctx context.Context, yield func(manage.Publication) error) error
}

// A Difference is what an adoption would change for requests with one key.
type Difference struct {
	ID, Name string
	Text     string
}

// An Adoption is what a fleet has beside what a database would give it.
type Adoption struct {
	Owner   Owner // now; the zero Owner if there is none
	Unknown bool  // there is one that cannot be read
	Running bool  // it answers
	Has     manage.Change
	Gets    manage.Change

	Returns  []Difference // keys that the fleet does not know, and would
	Widens   []Difference // keys that would be served where they are not now
	Vanishes []Difference // keys that would be refused from then on
	Changes  []Difference // all others that would change

	info *jetstream.StreamInfo
}

// Review finds out what an adoption of the database would change.
func Review(ctx context.Context, l *Link, src Adoptee) (*Adoption, error) {
	kv, info, err := l.openKeys(ctx, src.Identity())
	if err != nil {
		return nil, err
	}
	a := &Adoption{info: info}
	own, at, err := l.readOwner(ctx)
	a.Unknown = errors.Is(err, errNoClaim)
	if err != nil && !a.Unknown && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, err
	}
	a.Owner = own
	if own.Claim != "" {
		if a.Has, err = l.published(ctx, own, at, info.State.LastSeq); err != nil {
			return nil, err
		}
		there, err := l.alive(ctx)
		if err != nil {
			return nil, err
		}
		a.Running = there == own.Claim
	}
	if a.Gets, err = src.LastChange(ctx); err != nil {
		return nil, err
	}
	have, err := readValues(ctx, kv)
	if err != nil {
		return nil, err
	}
	err = src.Publications(ctx, func(p manage.Publication) error {
		if p.Err != nil {
			return p.Err
		}
		v, ok := have[p.ID]
		delete(have, p.ID)
		a.add(ctx, src, p, v, ok)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id := range have {
		a.Vanishes = append(a.Vanishes, Difference{ID: id, Name: nameOf(ctx, src, id), Text: "requests with it are refused"})
	}
	for _, list := range [][]Difference{a.Returns, a.Widens, a.Vanishes, a.Changes} {
		slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.ID, b.ID) })
	}
	return a, nil
}

func nameOf(ctx context.Context, src Adoptee, id string) string {
	k, err := src.Key(ctx, id)
	if err != nil {
		return ""
	}
	return k.Name
}

// readValues returns the keys' values as the bucket has them. One that cannot
// be read is an empty one.
func readValues(ctx context.Context, kv jetstream.KeyValue) (map[string]natsfeed.Value, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read the bucket of keys: %w", err)
	}
	defer func() { _ = w.Stop() }() // it may have ended by itself
	have := make(map[string]natsfeed.Value)
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("read the bucket of keys: it ended too early")
			}
			if e == nil {
				return have, nil
			}
			if id, err := natsfeed.NameKey(e.Key()); err == nil && keyring.ValidID(id) {
				have[id], _ = natsfeed.DecodeValue(e.Value()) // a gateway keeps what it had
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (a *Adoption) add(ctx context.Context, src Adoptee, p manage.Publication, v natsfeed.Value, known bool) {
	meta := EncodeMeta(p.Key)
	if known && slices.Equal(p.Entries, v.Entries) && slices.Equal(meta, v.Meta) {
		return
	}
	d := Difference{ID: p.ID, Name: nameOf(ctx, src, p.ID)}
	if !known {
		d.Text = "served again, " + from(p.Entries)
		a.Returns = append(a.Returns, d)
		return
	}
	old, err := DecodeMeta(p.ID, v.Meta)
	if err != nil {
		old = new(keyring.Key)
	}
	var wider, other []string
	if old.Hash != p.Key.Hash {
		wider = append(wider, "another secret is taken, and not the present one")
	}
	if p.Key.Scopes&^old.Scopes != 0 {
		wider = append(wider, "more scopes: "+strings.Join((p.Key.Scopes&^old.Scopes).Names(), ", "))
	} else if p.Key.Scopes != old.Scopes {
		other = append(other, "fewer scopes")
	}
	if p.Key.ReportOnly && !old.ReportOnly {
		wider = append(wider, "the allowlist is no longer enforced")
	} else if p.Key.ReportOnly != old.ReportOnly {
		other = append(other, "the allowlist is enforced")
	}
	switch {
	case slices.Equal(p.Entries, v.Entries):
	case covers(v.Entries, p.Entries):
		other = append(other, "a narrower list: "+from(p.Entries))
	default:
		wider = append(wider, "served "+from(p.Entries)+" (now "+from(v.Entries)+")")
	}
	d.Text = strings.Join(append(wider, other...), "; ")
	if len(wider) > 0 {
		a.Widens = append(a.Widens, d)
	} else {
		a.Changes = append(a.Changes, d)
	}
}

// covers reports whether each entry of b lies in one entry of a. Entries that
// only several together cover count as wider: they are shown rather once too
// often.
func covers(a, b []ipallow.Entry) bool {
	if len(a) == 0 {
		return true // it is served from everywhere
	}
	for _, e := range b {
		if !slices.ContainsFunc(a, func(w ipallow.Entry) bool {
			return w.Prefix.Bits() <= e.Prefix.Bits() && w.Prefix.Contains(e.Prefix.Addr())
		}) {
			return false
		}
	}
	return len(b) > 0
}

// from says from where a key is served.
func from(entries []ipallow.Entry) string {
	const shown = 5
	if len(entries) == 0 {
		return "from everywhere"
	}
	var b strings.Builder
	b.WriteString("from ")
	for i, e := range entries[:min(shown, len(entries))] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e.String())
	}
	if len(entries) > shown {
		fmt.Fprintf(&b, " and %d more", len(entries)-shown)
	}
	return b.String()
}

// maxShown is how many differences of a kind are shown.
const maxShown = 50

// Print shows an operator what the adoption changes.
func (a *Adoption) Print(w io.Writer) {
	if a.Unknown {
		fmt.Fprintf(w, "The bucket of keys does not say in a readable way who the fleet's management node is, and which changes it was given.\n")
	} else if a.Owner.Claim == "" {
		fmt.Fprintf(w, "The fleet has no management node.\n")
	} else {
		fmt.Fprintf(w, "The fleet's management node is number %d: server %s, since %s.\n", a.Owner.Epoch, a.Owner.server(), stamp(a.Owner.Time))
		if a.Running {
			fmt.Fprintf(w, "IT IS RUNNING NOW, and will publish nothing and accept no changes after the adoption.\n")
		}
		fmt.Fprintf(w, "The fleet was given change number %d%s.\n", a.Has.Revision, dated(a.Has.Time))
	}
	fmt.Fprintf(w, "This database's last change is number %d%s.\n\n", a.Gets.Revision, dated(a.Gets.Time))
	for _, part := range []struct {
		title string
		list  []Difference
	}{
		{"Keys that would be accepted again, or for the first time", a.Returns},
		{"Keys that would be accepted where they are refused now", a.Widens},
		{"Keys that would be refused from then on", a.Vanishes},
		{"Keys that would change otherwise", a.Changes},
	} {
		fmt.Fprintf(w, "%s: %d\n", part.title, len(part.list))
		for _, d := range part.list[:min(maxShown, len(part.list))] {
			fmt.Fprintf(w, "  %s %q: %s\n", d.ID, d.Name, d.Text)
		}
		if n := len(part.list) - maxShown; n > 0 {
			fmt.Fprintf(w, "  and %d more\n", n)
		}
	}
}

// ErrChanged says that the fleet was changed since it was reviewed.
var ErrChanged = errors.New("the fleet's keys were changed meanwhile")

// Make makes the database the fleet's, unless the bucket has changed since the
// review. The server that is started with it publishes what differs.
func (a *Adoption) Make(ctx context.Context, l *Link, src Adoptee) (Owner, error) {
	c := claim{link: l, src: src, line: newLine(l, keyring.NewID()+keyring.NewID())}
	own, err := c.once(ctx, a.info, true)
	if errors.Is(err, natsfeed.ErrConflict) {
		return own, ErrChanged
	}
	if err != nil {
		return own, err
	}
	if err := l.setMetadata(ctx, a.info, own.Database); err != nil {
		return own, err
	}
	return own, src.SetFence(ctx, l.cfg.keysBucket(), "")
}

// Await waits for the connection.
func (l *Link) Await(ctx context.Context) error { return l.await(ctx) }
