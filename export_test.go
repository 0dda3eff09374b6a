package ipallow

// newWithMask makes an engine that keeps only the bits of mask in the hashes
// of its keys, so that they collide in the part that the mask clears.
func newWithMask(opts *Options, mask uint64) *Engine {
	e := New(opts)
	e.snap.Store((*Snapshot)(e.snap.Load().index().WithHashMask(mask)))
	return e
}
