package h1

// chunks decodes the chunked transfer coding, split anywhere.
type chunks struct {
	state    uint8
	digits   uint8
	ext      int   // bytes of extensions so far
	left     int64 // of the chunk
	trailers []byte
}

// States of the decoder.
const (
	chunkSize uint8 = iota
	chunkBlank
	chunkExt
	chunkLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerLine
	trailerLF
	trailerEndLF
	chunkDone
)

// maxChunkExt bounds the extensions of one chunk, maxTrailers all trailers.
const (
	maxChunkExt = 16 << 10
	maxTrailers = 60 << 10
)

// decode takes p and moves the data in it together: the data is p[lo:hi]. used is how much of p
// was taken; it is less than len(p) only at the end of the message.
func (c *chunks) decode(p []byte) (lo, hi, used int, err *Error) {
	started := false
	i := 0
	for i < len(p) && c.state != chunkDone {
		if c.state != chunkData {
			if err := c.step(p[i]); err != nil {
				return lo, hi, i, err
			}
			i++
			continue
		}
		n := int(min(c.left, int64(len(p)-i)))
		if !started {
			started = true
			lo, hi = i, i
		}
		if hi != i {
			copy(p[hi:], p[i:i+n])
		}
		hi += n
		i += n
		if c.left -= int64(n); c.left == 0 {
			c.state = chunkDataCR
		}
	}
	return lo, hi, i, nil
}

// step takes one byte that is not data. Envoy accepts blanks after the size and nothing else that
// RFC 9112 does not.
func (c *chunks) step(b byte) *Error {
	switch c.state {
	case chunkSize, chunkBlank:
		return c.size(b)
	case chunkExt:
		if c.ext++; c.ext > maxChunkExt || b != '\r' && !valueOK[b] {
			return errChunk
		}
		if b == '\r' {
			c.state = chunkLF
		}
	case chunkLF:
		if b != '\n' {
			return errChunk
		}
		if c.digits, c.ext = 0, 0; c.left > 0 {
			c.state = chunkData
		} else {
			c.state = trailerStart
		}
	case chunkDataCR:
		if b != '\r' {
			return errChunk
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunk
		}
		c.state = chunkSize
	default:
		return c.trailer(b)
	}
	return nil
}

// size takes a byte of the size line before extensions.
func (c *chunks) size(b byte) *Error {
	switch {
	case b == ' ' || b == '\t':
		if c.digits == 0 {
			return errChunk
		}
		if c.ext++; c.ext > maxChunkExt {
			return errChunk
		}
		c.state = chunkBlank
		return nil
	case b == '\r' && c.digits > 0:
		c.state = chunkLF
		return nil
	case b == ';' && c.digits > 0:
		c.state = chunkExt
		return nil
	}
	d := hexDigit(b)
	if d < 0 || c.state == chunkBlank || c.left >= 1<<58 {
		return errChunk
	}
	c.left = c.left<<4 | int64(d)
	c.digits = 1
	return nil
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b|32 >= 'a' && b|32 <= 'f':
		return int(b|32-'a') + 10
	}
	return -1
}

// trailer takes a byte after the last chunk. The lines are kept for the field parser.
func (c *chunks) trailer(b byte) *Error {
	switch c.state {
	case trailerStart:
		if b == '\r' {
			c.state = trailerEndLF
			return nil
		}
		c.state = trailerLine
	case trailerLF:
		if b != '\n' {
			return errTrailer
		}
		c.state = trailerStart
	case trailerEndLF:
		if b != '\n' {
			return errTrailer
		}
		c.state = chunkDone
		return nil
	case trailerLine:
		if b == '\r' {
			c.state = trailerLF
		} else if !valueOK[b] {
			return errTrailer
		}
	}
	if len(c.trailers) >= maxTrailers {
		return errTooLarge
	}
	c.trailers = append(c.trailers, b)
	return nil
}
