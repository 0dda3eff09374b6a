package usagelog

import (
	"bytes"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// extremes are records at the edges of the format.
func extremes() []Record {
	recs := []Record{
		sample(1),
		{},
		{ID: newRecordID(math.MaxUint64, math.MaxUint64), Time: maxTime, Duration: math.MaxInt64, Status: 999, Verdict: ipallow.Unrestricted, ClientAddr: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
		{ClientAddr: netip.IPv4Unspecified()},
		{ClientAddr: netip.IPv6Unspecified()},
		{
			RequestID: strings.Repeat("r", MaxRequestID), KeyID: strings.Repeat("k", MaxKeyID),
			Method: strings.Repeat("M", MaxMethod), Path: strings.Repeat("/", MaxPath),
		},
		{Path: "/größe/日本", KeyID: "…"},
		{More: 1},
		{More: math.MaxUint32, ClientAddr: netip.MustParseAddr("203.0.113.5"), Path: "/v1"},
		{
			RequestID: strings.Repeat("r", MaxRequestID), KeyID: strings.Repeat("k", MaxKeyID),
			Method: strings.Repeat("M", MaxMethod), Path: strings.Repeat("/", MaxPath), More: 0xfafffaff,
			ClientAddr: netip.MustParseAddr("2001:db8::1"),
		},
		{ClientAddr: netip.MustParseAddr("203.0.113.5"), Entry: netip.MustParsePrefix("203.0.113.0/24"), Label: "Büro", List: "cloud"},
		{ClientAddr: netip.MustParseAddr("203.0.113.5"), Entry: netip.MustParsePrefix("0.0.0.0/0")},
		{ClientAddr: netip.MustParseAddr("2001:db8::1"), Entry: netip.MustParsePrefix("2001:db8::1/128"), List: "cloud", More: 7},
		{
			RequestID: strings.Repeat("r", MaxRequestID), KeyID: strings.Repeat("k", MaxKeyID),
			Method: strings.Repeat("M", MaxMethod), Path: strings.Repeat("/", MaxPath), More: 0xfafffaff,
			ClientAddr: netip.MustParseAddr("2001:db8::1"), Entry: netip.MustParsePrefix("::/0"),
			Label: strings.Repeat("l", MaxLabel), List: strings.Repeat("L", MaxList),
		},
		// An address that spells the magic of a frame.
		{ClientAddr: netip.AddrFrom16([16]byte(bytes.Repeat([]byte{magic0, magic1}, 8)))},
	}
	for i := range recs {
		recs[i] = recs[i].Normalize()
	}
	return recs
}

// readAll reads the records of a write-ahead file of these bytes.
func readAll(t testing.TB, b []byte) (recs []Record, fr *frameReader, damaged int64) {
	t.Helper()
	fr, err := openFrames(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		require.ErrorIs(t, err, ErrVersion)
		return nil, nil, 0
	}
	fr.damage = func(off, n int64) {
		require.True(t, off >= 0 && n > 0 && off+n <= int64(len(b)))
		damaged += n
	}
	for {
		var r Record
		ok, err := fr.next(&r)
		require.NoError(t, err)
		if !ok {
			return recs, fr, damaged
		}
		recs = append(recs, r)
	}
}

func head() []byte { return append([]byte(segmentMagic), segmentVersion) }

func TestFrameRoundTrip(t *testing.T) {
	b := head()
	for _, r := range extremes() {
		at := len(b)
		b = appendFrame(b, &r)
		require.Equal(t, frameLen(&r), len(b)-at)
		require.LessOrEqual(t, len(b)-at, maxFrame)
		var back Record
		require.Equal(t, len(b)-at, decodeFrame(b[at:], string(b[at:]), &back))
		require.True(t, r == back, "%#v\n%#v", r, back)
	}
	recs, fr, damaged := readAll(t, b)
	require.Equal(t, extremes(), recs)
	require.Zero(t, fr.skipped+damaged)
}

// TestFirstVersion reads a file of the first version, which had no entries, and leaves
// one of a version to come alone.
func TestFirstVersion(t *testing.T) {
	b := head()
	for _, r := range extremes()[:4] {
		b = appendFrame(b, &r)
	}
	b[segmentHead-1] = 1
	recs, fr, damaged := readAll(t, b)
	require.Equal(t, extremes()[:4], recs)
	require.Zero(t, fr.skipped+damaged)
	b[segmentHead-1] = segmentVersion + 1
	_, fr, _ = readAll(t, b)
	require.Nil(t, fr)
}

// TestEveryTruncation cuts a file at every byte: what is left is read.
func TestEveryTruncation(t *testing.T) {
	b, ends := head(), []int{}
	recs := append(extremes()[:4], extremes()[10:13]...)
	for _, r := range recs {
		b = appendFrame(b, &r)
		ends = append(ends, len(b))
	}
	for n := range len(b) {
		whole := 0
		for _, e := range ends {
			if e <= n {
				whole++
			}
		}
		got, fr, damaged := readAll(t, b[:n])
		require.Equal(t, whole, len(got), "cut at %d", n)
		if whole > 0 {
			require.Equal(t, recs[:whole], got)
			require.EqualValues(t, n-ends[whole-1], fr.skipped)
		}
		require.Zero(t, damaged)
	}
}

// TestEveryBitFlip flips every bit of the second of three records: it is
// lost, the others are read.
func TestEveryBitFlip(t *testing.T) {
	for _, second := range []Record{extremes()[1], extremes()[10]} {
		testEveryBitFlip(t, []Record{extremes()[0], second, extremes()[2]})
	}
}

func testEveryBitFlip(t *testing.T, recs []Record) {
	b := head()
	b = appendFrame(b, &recs[0])
	from := len(b)
	b = appendFrame(b, &recs[1])
	to := len(b)
	b = appendFrame(b, &recs[2])
	for bit := from * 8; bit < to*8; bit++ {
		b[bit/8] ^= 1 << (bit % 8)
		got, fr, damaged := readAll(t, b)
		require.Equal(t, []Record{recs[0], recs[2]}, got, "bit %d", bit)
		require.EqualValues(t, to-from, damaged)
		require.Zero(t, fr.skipped)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// TestReaderAcrossChunks reads files many times longer than a chunk, with
// damage at random places.
func TestReaderAcrossChunks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	survived, lost := 0, 0
	for range 20 {
		b := head()
		var want []Record
		for n := range 3000 {
			r := sample(n)
			r.Path = "/" + strings.Repeat("p", rnd.IntN(300))
			r = r.Normalize()
			if rnd.IntN(10) == 0 { // garbage, rich in what looks like frames
				for range rnd.IntN(200) {
					b = append(b, [...]byte{magic0, magic1, 0, 'x'}[rnd.IntN(4)])
				}
				lost++
			}
			b = appendFrame(b, &r)
			want = append(want, r)
		}
		got, _, _ := readAll(t, b)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, want[i] == got[i], "record %d", i)
		}
		survived += len(got)
	}
	require.Positive(t, survived)
	require.Positive(t, lost)
}

// TestReaderFollowsAGrowingFile raises the end after each record, as a running
// Writer does.
func TestReaderFollowsAGrowingFile(t *testing.T) {
	b := head()
	fr := &frameReader{off: int64(len(b)), end: int64(len(b))}
	for n := range 2000 {
		r := sample(n).Normalize()
		b = appendFrame(b, &r)
		fr.src, fr.end = bytes.NewReader(b), int64(len(b))
		var got Record
		ok, err := fr.next(&got)
		require.NoError(t, err)
		require.True(t, ok)
		require.True(t, r == got)
		ok, err = fr.next(&got)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func FuzzWALDecode(f *testing.F) {
	three := head()
	for _, r := range extremes()[:3] {
		three = appendFrame(three, &r)
	}
	long := head()
	for _, r := range extremes() {
		long = appendFrame(long, &r)
	}
	f.Add(three, uint16(0))                                                             // sound
	f.Add(three, uint16(len(three)-5))                                                  // torn
	f.Add(long, uint16(300))                                                            // every field at its edge
	f.Add([]byte{}, uint16(0))                                                          // an empty file
	f.Add(head()[:5], uint16(0))                                                        // a torn header
	f.Add(append(head(), bytes.Repeat([]byte{0}, 100)...), uint16(0))                   // zeros, as file systems leave them
	f.Add(append([]byte("no header "), three[segmentHead:]...), uint16(0))              // frames behind something else
	f.Add(append([]byte(segmentMagic), segmentVersion+1), uint16(0))                    // a newer version
	f.Add(append(append([]byte(segmentMagic), 1), three[segmentHead:]...), uint16(241)) // an older version
	f.Add(append(append([]byte(segmentMagic), 0), three[segmentHead:]...), uint16(0))   // none that ever was
	f.Add(append(append(head(), magic0, magic1), three[8:]...), uint16(0))              // damage before the first frame
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0, magic0, magic1, 60, 0}, 40), uint16(9))       // only beginnings of frames
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		recs, fr, damaged := readAll(t, b)
		if fr == nil {
			return // a newer version
		}
		var size int64
		for i := range recs {
			frame := appendFrame(nil, &recs[i])
			require.True(t, bytes.Contains(b, frame), "decoded %#v, which encodes to other bytes", recs[i])
			var again Record
			require.Equal(t, len(frame), decodeFrame(frame, string(frame), &again))
			require.True(t, recs[i] == again)
			size += int64(len(frame))
		}
		begin := int64(0)
		if len(b) >= segmentHead && string(b[:len(segmentMagic)]) == segmentMagic && b[segmentHead-1] != 0 {
			begin = int64(segmentHead) // of this version or one before
		}
		require.Equal(t, int64(len(b)), begin+size+damaged+fr.skipped, "every byte is accounted for")

		prefix, fr, _ := readAll(t, b[:min(int(cut), len(b))])
		if fr == nil {
			return
		}
		require.LessOrEqual(t, len(prefix), len(recs))
		for i := range prefix {
			if prefix[i] != recs[i] {
				t.Fatalf("of the file cut at %d, record %d is\n%#v, want\n%#v", cut, i, prefix[i], recs[i])
			}
		}
	})
}

func TestReaderTimeOfDamage(t *testing.T) {
	// The worst case for finding the next frame: every other byte begins one.
	b := append(head(), bytes.Repeat([]byte{magic0, magic1}, 1<<20)...)
	begin := time.Now()
	recs, _, _ := readAll(t, b)
	require.Empty(t, recs)
	require.Less(t, time.Since(begin), 10*time.Second)
}
