package natsfeed_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/natsfeed"
)

// demoServer starts a NATS server in this process, for the examples.
func demoServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "natsfeed")
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
	})
	if err != nil {
		log.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		log.Fatal("the NATS server does not start")
	}
	return srv.ClientURL(), func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		os.RemoveAll(dir)
	}
}

// demoBucket makes a bucket with the list of one key.
func demoBucket(ctx context.Context, js jetstream.JetStream) jetstream.KeyValue {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "allowlists"})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := ipallow.DefaultPolicy().ParseList([]string{"203.0.113.0/24"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := natsfeed.Publish(ctx, kv, "key-1", entries, nil); err != nil {
		log.Fatal(err)
	}
	return kv
}

func follow(ctx context.Context, url string) (*ipallow.Engine, *natsfeed.Feed, error) {
	nc, err := nats.Connect(url, natsfeed.ConnOptions()...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
	feed, err := natsfeed.Follow(ctx, engine, js, "allowlists", nil)
	return engine, feed, err
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	url, stop := demoServer()
	defer stop()
	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	kv := demoBucket(ctx, js)

	engine, feed, err := follow(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer feed.Close()
	fmt.Println(engine.Check("key-1", netip.MustParseAddr("203.0.113.9")))
	fmt.Println(engine.Check("key-1", netip.MustParseAddr("198.51.100.9")))

	// Somewhere else, the list is changed.
	entries, err := ipallow.DefaultPolicy().ParseList([]string{"198.51.100.9"})
	if err != nil {
		log.Fatal(err)
	}
	rev, err := natsfeed.Publish(ctx, kv, "key-1", entries, nil)
	if err != nil {
		log.Fatal(err)
	}
	for feed.Status().Revision < rev {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(engine.Check("key-1", netip.MustParseAddr("198.51.100.9")))
	fmt.Println(feed.Ready(10 * time.Second))
	// Output:
	// allowed
	// denied
	// allowed
	// <nil>
}

// Two people edit one list. The second to save is told, and repeats the change
// on what is there now.
func ExamplePublish() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	url, stop := demoServer()
	defer stop()
	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	kv := demoBucket(ctx, js)

	value, rev, err := natsfeed.Get(ctx, kv, "key-1")
	if err != nil {
		log.Fatal(err)
	}
	more, err := ipallow.DefaultPolicy().ParseList([]string{"198.51.100.9"})
	if err != nil {
		log.Fatal(err)
	}
	list := append(value.Entries, more...)
	if _, err := natsfeed.Publish(ctx, kv, "key-1", list, &natsfeed.PublishOptions{ExpectRevision: rev}); err != nil {
		log.Fatal(err)
	}
	_, err = natsfeed.Publish(ctx, kv, "key-1", nil, &natsfeed.PublishOptions{ExpectRevision: rev})
	fmt.Println(err != nil)
	// Output: true
}

// A gateway learns from Meta what authenticates a key. Its map has a key only
// while the key's list is in force.
func ExampleOptions_hooks() {
	var known sync.Map // key: the hash of its secret
	opts := &natsfeed.Options{
		Before: func(b *natsfeed.Batch) {
			if !b.Reset {
				for c := range b.All() {
					if c.Deleted {
						known.Delete(c.Key)
					}
				}
				return
			}
			known.Range(func(key, _ any) bool { // a load: compare all
				if b.Gone(key.(string)) {
					known.Delete(key)
				}
				return true
			})
		},
		After: func(b *natsfeed.Batch) {
			for c := range b.All() {
				if !c.Deleted {
					known.Store(c.Key, c.Meta)
				}
			}
		},
	}
	fmt.Println(opts.Before != nil, opts.After != nil)
	// Output: true true
}
