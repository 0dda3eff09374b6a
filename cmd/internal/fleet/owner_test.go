package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// A claimant is a database of a few facts.
type claimant struct {
	id      string
	changes []int64 // marks, from number 1
	claims  string
}

func (c *claimant) Identity() string { return c.id }

func (c *claimant) ChangeAt(_ context.Context, n int64) (manage.Change, error) {
	if n < 1 || n > int64(len(c.changes)) {
		return manage.Change{}, nil
	}
	return manage.Change{Revision: n, Mark: c.changes[n-1]}, nil
}

func (c *claimant) LastChange(ctx context.Context) (manage.Change, error) {
	return c.ChangeAt(ctx, int64(len(c.changes)))
}

func (c *claimant) HasClaim(_ context.Context, nonce string) (bool, error) {
	return strings.Contains(c.claims, nonce), nil
}
func (c *claimant) AddClaim(context.Context, string) error         { return nil }
func (c *claimant) Fence(context.Context, string) (string, error)  { return "", nil }
func (c *claimant) SetFence(context.Context, string, string) error { return nil }

// Who may follow an owner: the database that it left, with all that was
// published, and nobody else.
func TestJudge(t *testing.T) {
	own := Owner{Database: "db", Claim: "x", Epoch: 7}
	at := manage.Change{Revision: 3, Mark: 33}
	for _, tt := range []struct {
		name string
		c    claimant
		want string
	}{
		{"the same", claimant{"db", []int64{11, 22, 33}, "wx"}, ""},
		{"more, unpublished", claimant{"db", []int64{11, 22, 33, 44}, "wx"}, ""},
		{"another database", claimant{"other", []int64{11, 22, 33}, "x"}, "another database"},
		{"older", claimant{"db", []int64{11, 22}, "wx"}, "older"},
		{"empty", claimant{"db", nil, "wx"}, "older"},
		{"as many changes, others", claimant{"db", []int64{11, 22, 34}, "wx"}, "changed apart"},
		{"more changes, others", claimant{"db", []int64{11, 22, 34, 44}, "wx"}, "changed apart"},
		{"a copy that another went on with", claimant{"db", []int64{11, 22, 33}, "w"}, "has been the fleet's management node"},
	} {
		err := judge(t.Context(), &tt.c, own, at)
		if tt.want == "" {
			require.NoError(t, err, tt.name)
			continue
		}
		require.ErrorContains(t, err, tt.want, tt.name)
		require.ErrorContains(t, err, "ipallowd fleet adopt")
		require.True(t, isFenced(err))
	}
	require.NoError(t, judge(t.Context(), &claimant{id: "db"}, Owner{Database: "db"}, manage.Change{}), "a bucket from before there were owners")
}

// The last published change is found by the last message, and where that was
// deleted or is somebody else's, among all that are there.
func TestPublishedIsFound(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	a := h.create("203.0.113.1")
	h.settle() // the owner's message has the number of no change, or of one
	for _, entry := range []string{"203.0.113.2", "203.0.113.3", "203.0.113.4"} {
		h.save(a.Key.ID, entry)
		h.create(entry)
	}
	h.settle()
	h.pub.Close()
	want, err := h.svc.LastChange(within(t))
	require.NoError(t, err)
	require.EqualValues(t, 7, want.Revision)
	found := func() manage.Change {
		own, at, err := l.readOwner(within(t))
		require.NoError(t, err)
		require.Less(t, own.Change.Revision, want.Revision, "the test shows nothing")
		info, err := l.keysInfo(within(t))
		require.NoError(t, err)
		got, err := l.published(within(t), own, at, info.State.LastSeq)
		require.NoError(t, err)
		got.Time = want.Time
		return got
	}
	require.Equal(t, want, found())
	js := n.JetStream()
	require.NoError(t, write(t, js, "somebody-elses"))
	require.Equal(t, want, found())
	stream, err := js.Stream(within(t), "KV_"+DefaultPrefix+"_keys")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+DefaultPrefix+"_keys.somebody-elses")))
	require.Equal(t, want, found())
}

// A message that the owner sent before another one followed it, and that
// arrives afterwards, is not stored, whatever key it is for.
// An owner that cannot be read fences every server, at its start and while it runs,
// until somebody adopts a database.
func TestUnreadableOwner(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "x", "{}", `{"claim":""}`, `{"claim":7}`, `[]`, "null"} {
		n := fleettest.Start(t)
		l := link(t, n)
		h := openHome(t, l)
		a := h.create("203.0.113.1")
		h.settle()
		_, err := l.js.Publish(within(t), l.cfg.keysSubject(ownerName), []byte(value))
		require.NoError(t, err)
		fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Fenced != "" }, h.state)
		require.Contains(t, h.pub.Status(within(t)).Fenced, "ipallowd fleet adopt", value)
		require.ErrorIs(t, h.svc.Refused(), manage.ErrRefused, "/readyz says so")
		_, err = h.svc.Create(within(t), by, manage.NewKey{Name: "k", Scopes: []string{"read"}})
		require.ErrorIs(t, err, manage.ErrRefused)
		h.pub.Close()

		// A start finds the same, whatever is noted of the last one.
		require.NoError(t, h.svc.SetFence(within(t), l.cfg.keysBucket(), ""))
		again := newLine(l, "another")
		info, err := l.keysInfo(within(t))
		require.NoError(t, err)
		_, err = (&claim{link: l, src: h.svc, line: again}).make(within(t), info, false)
		require.True(t, isFenced(err), "%q: %v", value, err)

		review, err := Review(within(t), l, h.svc)
		require.NoError(t, err)
		require.True(t, review.Unknown)
		require.Empty(t, review.Returns)
		var said strings.Builder
		review.Print(&said)
		require.Contains(t, said.String(), "does not say")
		own, err := review.Make(within(t), l, h.svc)
		require.NoError(t, err)
		got, _, err := l.readOwner(within(t))
		require.NoError(t, err)
		require.Equal(t, own.Claim, got.Claim)
		require.Greater(t, got.Epoch, uint64(1))
		require.NotEmpty(t, a.Key.ID)
	}
}

func TestNothingIsStoredAfterAnotherOwner(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	a := h.create("203.0.113.1")
	h.settle()
	line := h.pub.line
	line.mu.Lock()
	before := line.next
	line.mu.Unlock()

	rival := newLine(link(t, n), "rival")
	fleettest.Eventually(t, func() bool { return rival.link.Connected() }, func() string { return "no connection" })
	require.NoError(t, rival.begin(within(t), Owner{Database: h.svc.Identity(), Claim: "rival", Server: "that one"}, before))
	_, err := line.write(within(t), message{name: a.Key.ID, data: []byte("late")})
	if !errors.Is(err, errBroken) { // it has heard of the other one already
		require.ErrorIs(t, err, natsfeed.ErrConflict)
	}
	require.Error(t, line.repair(within(t)))
	_, err = line.write(within(t), message{name: "new", data: []byte("late")})
	require.ErrorIs(t, err, errBroken)
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Fenced != "" }, h.state)
	require.Contains(t, h.pub.Status(within(t)).Fenced, "that one")
	_, err = h.svc.Create(within(t), by, manage.NewKey{Name: "k", Scopes: []string{"read"}})
	require.ErrorIs(t, err, manage.ErrRefused)
	info, err := l.keysInfo(within(t))
	require.NoError(t, err)
	require.Equal(t, before+1, info.State.LastSeq)

	// The rival's bucket is deleted: whoever was fenced does not fill another.
	h.pub.Close()
	require.NoError(t, n.JetStream().DeleteKeyValue(within(t), DefaultPrefix+"_keys"))
	h.publish(l)
	require.NotEmpty(t, h.pub.Status(within(t)).Fenced)
	_, err = l.keysInfo(within(t))
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

// Of many that claim at the same moment one is the owner.
func TestOneClaimIsStored(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	h.settle()
	h.pub.Close()
	type result struct {
		line *line
		err  error
	}
	results := make(chan result)
	l := link(t, n)
	fleettest.Eventually(t, l.Connected, func() string { return "no connection" })
	info, err := l.keysInfo(within(t))
	require.NoError(t, err)
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		line := newLine(l, name)
		go func() {
			results <- result{line, line.begin(within(t), Owner{Claim: name}, info.State.LastSeq)}
		}()
	}
	open := 0
	for range 16 {
		r := <-results
		_, err := r.line.write(within(t), message{name: "x"})
		if r.err == nil {
			open++
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, r.err, natsfeed.ErrConflict)
		require.ErrorIs(t, err, errBroken)
	}
	require.Equal(t, 1, open)
}

// --nats-replicas changes what exists, or says why not.
func TestReplicasAreChanged(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	h.settle()
	require.NoError(t, h.pub.Status(within(t)).Err)
	h.pub.Close()
	h.publish(link(t, n, func(c *Config) { c.Replicas = 3 }))
	h.settle()
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Replicas != nil }, h.state)
	st := h.pub.Status(within(t))
	require.ErrorContains(t, st.Err, "--nats-replicas: KV_ipallow_keys has 1 and cannot be given 3")
	require.True(t, st.InStep, "it publishes all the same")
}

// A usage stream has the one consumer of the owner.
func TestRecordsGoToTheOwner(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	first := openLog(t, l)
	gate := link(t, n)
	sink, err := NewSink(gate, "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 3)) == nil }, func() string { return "no stream" })
	first.has(3)
	other := &owner{owned: always, lost: make(chan struct{}), claim: "other"}
	second := openLogOf(t, l, other)
	stream, err := l.js.Stream(within(t), DefaultPrefix+"_usage")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool {
		_, err := stream.Consumer(within(t), consumerName+"-other")
		return err == nil
	}, func() string { return "no consumer" })
	first.drain.Close()
	require.NoError(t, sink.Append(within(t), numbered(1, 3, 4)))
	second.has(4)

	// Who is told by the bucket that it is not the owner makes no consumer that
	// it uses, and who has lost takes no more.
	third := openLogOf(t, l, &owner{owned: always, lost: make(chan struct{}), claim: "third", err: errNotOwner})
	close(other.lost)
	fleettest.Eventually(t, func() bool {
		return errors.Is(second.drain.Status().Err, errNotOwner) && third.drain.Status().Err != nil
	},
		func() string { return "no error" })
	require.NoError(t, sink.Append(within(t), numbered(1, 7, 2)))
	time.Sleep(2 * minPause)
	second.has(4)
	third.has(0)
}

// An owner is an ownership that a test controls.
type owner struct {
	owned, lost chan struct{}
	claim       string
	err         error
}

func (o *owner) Owned() <-chan struct{}       { return o.owned }
func (o *owner) Lost() <-chan struct{}        { return o.lost }
func (o *owner) Verify(context.Context) error { return o.err }
func (o *owner) Claim() string                { return o.claim }
