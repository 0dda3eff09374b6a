package natsfeed

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestPublish(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	_, _, err := Get(within(t), kv, "key")
	require.ErrorIs(t, err, ErrNotFound)

	list := entriesOf("203.0.113.0/24", "2001:db8::1")
	list[1].Label = "büro"
	first, err := Publish(within(t), kv, "key", list, &PublishOptions{Create: true, Meta: []byte("m")})
	require.NoError(t, err)
	v, rev, err := Get(within(t), kv, "key")
	require.NoError(t, err)
	require.Equal(t, first, rev)
	require.Equal(t, Value{Entries: list, Meta: []byte("m")}, v)

	_, err = Publish(within(t), kv, "key", list, &PublishOptions{Create: true})
	require.ErrorIs(t, err, ErrConflict)
	second, err := Publish(within(t), kv, "key", nil, &PublishOptions{ExpectRevision: first})
	require.NoError(t, err)
	_, err = Publish(within(t), kv, "key", list, &PublishOptions{ExpectRevision: first})
	require.ErrorIs(t, err, ErrConflict)
	_, err = Publish(within(t), kv, "key", list, &PublishOptions{ExpectRevision: second, Create: true})
	require.Error(t, err)
	_, err = Unpublish(within(t), kv, "key", &PublishOptions{ExpectRevision: first})
	require.ErrorIs(t, err, ErrConflict)
	third, err := Unpublish(within(t), kv, "key", &PublishOptions{ExpectRevision: second})
	require.NoError(t, err)
	require.Greater(t, third, second)
	_, _, err = Get(within(t), kv, "key")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = Publish(within(t), kv, "key", list, &PublishOptions{Create: true})
	require.NoError(t, err, "a deleted key can be created")

	_, err = Publish(within(t), kv, "", nil, nil)
	require.ErrorIs(t, err, ipallow.ErrKeyLength)
	_, err = Unpublish(within(t), kv, strings.Repeat("x", ipallow.MaxKeyLen+1), nil)
	require.ErrorIs(t, err, ipallow.ErrKeyLength)
	var invalid *ipallow.ValidationError
	_, err = Publish(within(t), kv, "key", entriesOf("10.0.0.0/8"), nil)
	require.ErrorAs(t, err, &invalid)
	policy := ipallow.DefaultPolicy()
	policy.MinBits4, policy.AllowNonPublic = 8, true
	_, err = Publish(within(t), kv, "key", entriesOf("10.0.0.0/8"), &PublishOptions{Policy: &policy})
	require.NoError(t, err)
	put(t, kv, "poisoned", []byte("x"))
	_, rev, err = Get(within(t), kv, "poisoned")
	require.ErrorIs(t, err, ErrVersion)
	require.NotZero(t, rev)
}

// Keys of every kind and length reach the engine through a real server.
func TestKeysOnTheWire(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	publish(t, kv, "first", "203.0.113.7")
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	keys := []string{
		".", "..", "a.b.c", "$KV.x", "*", ">", "a b", "=", "=confirm", "\x00", "\r\n", "ключ", "a/b", "-", "_",
		strings.Repeat("\xff", ipallow.MaxKeyLen), strings.Repeat("a.", ipallow.MaxKeyLen/2), strings.Repeat("x", ipallow.MaxKeyLen),
	}
	for b := range 256 {
		keys = append(keys, "byte "+string([]byte{byte(b)}))
	}
	for i, key := range keys {
		publish(t, kv, key, fmt.Sprintf("203.0.%d.%d", i/250, i%250))
	}
	reach(t, feed, publish(t, kv, "last", "203.0.113.7"))
	got := lists(engine)
	require.Len(t, got, len(keys)+2)
	for i, key := range keys {
		require.Equal(t, fmt.Sprintf("203.0.%d.%d/32", i/250, i%250), got[key], "%q", key)
	}
	for _, key := range keys {
		unpublish(t, kv, key)
	}
	reach(t, feed, publish(t, kv, "last", "203.0.113.7"))
	require.Len(t, lists(engine), 2)
	require.Zero(t, feed.Status().Faulty)
}

func TestLargeLists(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	policy := ipallow.DefaultPolicy()
	policy.MaxEntries = 250_000
	list := make([]ipallow.Entry, 250_000)
	for i := range list {
		list[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(101 + i>>16), byte(i >> 8), byte(i), 1}), 32)
	}
	_, err := Publish(within(t), kv, "key", list[:100_000], nil)
	var invalid *ipallow.ValidationError
	require.ErrorAs(t, err, &invalid, "more than the policy allows")
	_, err = Publish(within(t), kv, "key", list[:200_000], &PublishOptions{Policy: &policy})
	require.NoError(t, err)
	_, err = Publish(within(t), kv, "key", list, &PublishOptions{Policy: &policy})
	require.ErrorIs(t, err, ErrTooLarge, "more than a message of this server holds")
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true, Policy: &policy})
	follow(t, engine, js, Options{})
	got, ok := engine.Snapshot().Entries("key")
	require.True(t, ok)
	require.True(t, slices.Equal(list[:200_000], got))

	drop(t, js)
	kv = makeBucket(t, js, jetstream.KeyValueConfig{MaxValueSize: 100})
	publish(t, kv, "key", "203.0.113.7")
	_, err = Publish(within(t), kv, "key", entriesOf("203.0.113.7"), &PublishOptions{Meta: make([]byte, 100)})
	require.ErrorIs(t, err, ErrTooLarge, "more than this bucket takes")
}

// Eight publishers each add entries to one list. None is lost, and none that
// is in conflict gets through.
func TestOptimisticConcurrency(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	policy := ipallow.DefaultPolicy()
	policy.MaxEntries = 200
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true, Policy: &policy})
	_, err := Publish(within(t), kv, "key", nil, nil)
	require.NoError(t, err)
	feed := follow(t, engine, js, Options{})
	const publishers, each = 8, 10
	var wg sync.WaitGroup
	conflicts := make([]int, publishers)
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				for {
					v, rev, err := Get(within(t), kv, "key")
					if err != nil {
						t.Error(err)
						return
					}
					list := append(v.Entries, entriesOf(fmt.Sprintf("203.0.%d.%d", p, i))...)
					_, err = Publish(within(t), kv, "key", list, &PublishOptions{ExpectRevision: rev, Policy: &policy})
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
					conflicts[p]++
				}
			}
		})
	}
	wg.Wait()
	v, rev, err := Get(within(t), kv, "key")
	require.NoError(t, err)
	require.Len(t, v.Entries, publishers*each)
	sum := 0
	for _, n := range conflicts {
		sum += n
	}
	require.NotZero(t, sum, "the publishers never met")
	t.Logf("%d changes, %d conflicts", publishers*each, sum)
	reach(t, feed, rev)
	got, _ := engine.Snapshot().Entries("key")
	require.Equal(t, v.Entries, got)
}
