package natsfeed

import "time"

type checkpoint struct{ alive time.Time }
type saved struct {
	name string
	rev  uint64
	kind kind
	data []byte
}

func (c *checkpoint) each(func(string, record))           {}
func (f *Feed) openCheckpoint() (bool, error)             { return false, nil }
func (f *Feed) writeCheckpoint(c *content, source Source) {}
func (f *Feed) appendCheckpoint([]saved)                  {}
func (f *Feed) tickCheckpoint()                           {}
func (f *Feed) closeCheckpoint()                          {}
