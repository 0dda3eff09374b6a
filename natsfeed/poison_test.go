package natsfeed

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// A faultLog collects what OnFault is told.
type faultLog struct {
	mu     sync.Mutex
	faults []Fault
}

func (l *faultLog) add(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, f)
}

func (l *faultLog) all() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Fault(nil), l.faults...)
}

func put(t testing.TB, kv jetstream.KeyValue, name string, data []byte) uint64 {
	t.Helper()
	rev, err := kv.Put(within(t), name, data)
	require.NoError(t, err)
	return rev
}

// An empty value with the headers of the server's own word is a faulty value, and
// ends nothing: neither for a feed with a consumer that it makes, nor with one that
// was made for it.
func TestValueThatLooksLikeStatus(t *testing.T) {
	t.Parallel()
	n := startAccounts(t, "a")
	js := connect(t, n.as("bucket"))
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	require.NoError(t, CreateConsumer(within(t), js, bucketName, "a"))
	one, two := newEngine(), newEngine()
	feeds := []*Feed{follow(t, one, js, Options{}), follow(t, two, inAccount(t, n.as("a")), Options{Consumer: "a"})}
	before := lists(one)
	for _, status := range []string{"100", "400", "404", "408", "409", "423", "503"} {
		for _, text := range []string{"Consumer Deleted", "Server Shutdown", "Leadership Change", "Idle Heartbeat", ""} {
			msg := nats.NewMsg("$KV." + bucketName + "." + keys[0])
			msg.Header = nats.Header{"Status": {status}, "Description": {text}, "Nats-Consumer-Stalled": {"$KV." + bucketName + "." + keys[1]}}
			_, err := js.PublishMsg(within(t), msg)
			require.NoError(t, err)
		}
	}
	last := publish(t, kv, keys[1], "203.0.113.99")
	for i, feed := range feeds {
		reach(t, feed, last)
		require.Equal(t, uint64(1), feed.Status().Sessions, "feed %d", i)
		require.NotZero(t, feed.Status().Faulty)
	}
	before[keys[1]] = "203.0.113.99/32"
	require.Equal(t, before, lists(one))
	require.Equal(t, before, lists(two))
}

func TestPoisonedValueKeepsTheList(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(10)
	restrict(t, kv, keys)
	engine := newEngine()
	var log faultLog
	feed := follow(t, engine, js, Options{OnFault: log.add})
	probe(t, engine, keys...)
	before := lists(engine)

	wide, err := AppendValue(nil, Value{Entries: entriesOf("10.0.0.0/8")})
	require.NoError(t, err)
	put(t, kv, keys[0], []byte("certainly no value"))
	put(t, kv, keys[1], sealed(2, 0, 0, 0)) // the next version
	put(t, kv, keys[2], wide)               // not with this policy
	put(t, kv, keys[3], nil)
	put(t, kv, "=zz", []byte("x")) // no key's name
	last := put(t, kv, "never-seen", []byte("x"))
	reach(t, feed, last)

	after := lists(engine)
	require.Equal(t, Nobody.String(), after["never-seen"], "a key without a list is closed")
	require.Equal(t, ipallow.Denied, engine.Check("never-seen", good))
	delete(after, "never-seen")
	require.Equal(t, before, after)
	require.NoError(t, feed.Ready(0), "one value must not take every node down")

	st := feed.Status()
	require.Equal(t, uint64(6), st.Faulty)
	require.Equal(t, 6, st.FaultsNow)
	require.Equal(t, log.all(), st.Faults)
	want := []error{ErrVersion, ErrVersion, nil, ErrValue, ErrName, ErrVersion}
	for i, fault := range st.Faults {
		if want[i] != nil {
			require.ErrorIs(t, fault.Err, want[i])
		}
		require.Equal(t, fault.Key == "never-seen", fault.Closed)
	}
	var invalid *ipallow.ValidationError
	require.ErrorAs(t, st.Faults[2].Err, &invalid)
	require.Equal(t, keys[2], st.Faults[2].Key)
	require.Equal(t, last, st.Faults[5].Revision)
	require.Equal(t, "", st.Faults[4].Key)
	require.Equal(t, "=zz", st.Faults[4].Name)

	// Values that can be used end it, and so do deletions.
	for _, key := range keys[:4] {
		publish(t, kv, key, "203.0.113.9")
	}
	require.NoError(t, kv.Delete(within(t), "=zz"))
	reach(t, feed, unpublish(t, kv, "never-seen"))
	require.Zero(t, feed.Status().FaultsNow)
	require.Equal(t, uint64(6), feed.Status().Faulty)
	require.Equal(t, ipallow.Unrestricted, engine.Check("never-seen", good))
	require.Equal(t, "203.0.113.9/32", lists(engine)[keys[0]])
	require.Equal(t, uint64(1), feed.Status().Loads)
}

func TestPoisonedValueOfAnUnrestrictedKey(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	publish(t, kv, "open")
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	require.Equal(t, ipallow.Unrestricted, engine.Check("open", wrong))
	reach(t, feed, put(t, kv, "open", []byte("x")))
	require.Equal(t, ipallow.Denied, engine.Check("open", wrong), "it may be the list that restricts it")
	reach(t, feed, publish(t, kv, "open"))
	require.Equal(t, ipallow.Unrestricted, engine.Check("open", wrong))

	// A node that starts anew has the same answer, whether it loads the bucket
	// or has a checkpoint with the value that came before.
	path := t.TempDir() + "/checkpoint"
	feed = follow(t, newEngine(), js, Options{Checkpoint: path})
	reach(t, feed, put(t, kv, "open", []byte("x")))
	feed.Close()
	for _, o := range []Options{{Checkpoint: path}, {}} {
		engine = newEngine()
		feed = follow(t, engine, js, o)
		require.Equal(t, ipallow.Denied, engine.Check("open", wrong))
		require.True(t, feed.Status().Faults[0].Closed)
		feed.Close()
	}
}

func TestPoisonedValueOnTheFirstLoad(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	publish(t, kv, "fine", "203.0.113.7")
	publish(t, kv, "poisoned", "203.0.113.7")
	put(t, kv, "poisoned", []byte("x"))
	put(t, kv, "=zz", []byte("x"))
	engine := newEngine()
	var log faultLog
	feed := follow(t, engine, js, Options{OnFault: log.add})
	require.NoError(t, feed.Ready(0))
	require.Equal(t, map[string]string{"fine": "203.0.113.7/32", "poisoned": Nobody.String()}, lists(engine))
	require.Len(t, log.all(), 2)
	require.Equal(t, 2, feed.Status().FaultsNow)
	require.True(t, feed.Status().Faults[0].Closed)
	require.False(t, feed.Status().Faults[1].Closed)
	reach(t, feed, publish(t, kv, "poisoned", "203.0.113.9"))
	require.Equal(t, "203.0.113.9/32", lists(engine)["poisoned"])
	require.Equal(t, 1, feed.Status().FaultsNow)
}

func TestPoisonedBatch(t *testing.T) {
	f := bareFeed(t)
	require.NoError(t, f.engine.Replace(func(func(string, []ipallow.Entry) bool) {}))
	list, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.7")})
	require.NoError(t, err)
	open, err := AppendValue(nil, Value{})
	require.NoError(t, err)
	seq := uint64(0)
	apply := func(values ...[]byte) string {
		var batch []message
		for _, v := range values {
			seq++
			batch = append(batch, message{name: "key", seq: seq, time: time.Unix(int64(seq), 0), data: v, deleted: v == nil})
		}
		require.NoError(t, f.apply(new(session), batch))
		return lists(f.engine)["key"]
	}
	bad := []byte("x")
	require.Equal(t, "203.0.113.7/32", apply(list, bad), "the value before it in the same batch counts")
	require.Equal(t, "203.0.113.7/32", apply(bad, bad))
	require.Equal(t, "", apply(bad, open), "the value behind it counts")
	require.Equal(t, Nobody.String(), apply(bad))
	require.Equal(t, Nobody.String(), apply(list, open, bad), "it has no list when the bad one comes")
	require.Equal(t, Nobody.String(), apply(list, nil, bad))
	require.Equal(t, "203.0.113.7/32", apply(bad, list))
	require.Equal(t, "", apply(bad, nil))
	require.Equal(t, uint64(9), f.st.faulty)

	// What comes again, or from another bucket, is not applied.
	before := lists(f.engine)
	err = f.apply(new(session), []message{{name: "key", seq: seq, data: list}})
	require.ErrorIs(t, err, errOtherBucket)
	require.Equal(t, before, lists(f.engine))
}

func TestKeysThatTheEngineRefuses(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true, MaxKeys: 3})
	var after []string
	feed := follow(t, engine, js, Options{After: func(b *Batch) {
		for c := range b.All() {
			if !b.Reset {
				after = append(after, c.Key)
			}
		}
	}})
	publish(t, kv, "one-too-many", "203.0.113.7")
	last := publish(t, kv, "key-0", "203.0.113.8")
	reach(t, feed, last)
	require.Equal(t, "203.0.113.8/32", lists(engine)["key-0"], "the others are not held up")
	st := feed.Status()
	require.Equal(t, 1, st.FaultsNow)
	require.Equal(t, "one-too-many", st.Faults[0].Key)
	require.ErrorIs(t, st.Faults[0].Err, ipallow.ErrTooManyKeys)
	feed.Close()
	require.Equal(t, []string{"key-0"}, after, "a key whose list is not in force must not become known")

	_, err := Follow(within(t), ipallow.New(&ipallow.Options{MaxKeys: 2}), js, bucketName, nil)
	require.ErrorIs(t, err, ipallow.ErrTooManyKeys)
}

func TestFollowArguments(t *testing.T) {
	js := connect(t, startNode(t).url())
	_, err := Follow(within(t), nil, js, bucketName, nil)
	require.ErrorIs(t, err, ipallow.ErrNoEngine)
	_, err = Follow(within(t), newEngine(), nil, bucketName, nil)
	require.Error(t, err)
	_, err = Follow(within(t), newEngine(), js, "", nil)
	require.Error(t, err)
	_, err = Follow(within(t), ipallow.New(&ipallow.Options{Policy: &ipallow.Policy{}}), js, bucketName, nil)
	require.ErrorIs(t, err, ErrPolicy)
	for _, o := range []Options{
		{Heartbeat: time.Millisecond}, {Heartbeat: time.Minute}, {CheckInterval: time.Millisecond},
		{RequestTimeout: -1}, {MaxBatch: -1}, {CheckpointInterval: 1},
	} {
		_, err := Follow(within(t), newEngine(), js, bucketName, &o)
		require.ErrorContains(t, err, "must be")
	}
	var none *Feed
	require.ErrorIs(t, none.Ready(0), ErrClosed)
	require.NoError(t, none.Close())
	require.True(t, errors.Is(&Fault{Err: ErrValue}, ErrValue))
	require.Contains(t, (&Fault{Key: strings.Repeat("x", 100), Err: ErrValue, Closed: true}).Error(), "closed")
}
