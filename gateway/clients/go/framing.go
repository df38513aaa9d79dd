package bot

import (
	"encoding/binary"
	"fmt"
)

const (
	frames           = "application/vnd.patchbay.opus-frames"
	framesWithHeader = frames + ";hdr=1"
	headerBytes      = 6
	// PacketBytesMax is the length of the longest Opus packet of one frame (RFC 6716 §3.4).
	PacketBytesMax = 1275
)

// keepalive is a frame without a packet.
var keepalive = []byte{0, 0}

// frame is one packet of a stream; seq is 16 bits wide and wraps, timestamp counts 1/48 000 s.
type frame struct {
	payload   []byte
	seq       uint16
	timestamp uint32
}

// appendFrame adds a packet as it goes into a stream.
func appendFrame(to, packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(packet))), packet...)
}

// appendFrameWithHeader adds a packet with its place.
func appendFrameWithHeader(to, packet []byte, seq uint64, timestamp uint32) []byte {
	to = binary.BigEndian.AppendUint16(to, uint16(headerBytes+len(packet)))
	to = binary.BigEndian.AppendUint16(to, uint16(seq))
	to = binary.BigEndian.AppendUint32(to, timestamp)
	return append(to, packet...)
}

func checkPacket(packet []byte) error {
	if len(packet) == 0 || len(packet) > PacketBytesMax {
		return fmt.Errorf("%w: it has 1 to %d bytes, not %d", ErrFraming, PacketBytesMax, len(packet))
	}
	return nil
}

// frameParser takes bytes as they come, in any pieces, and answers whole frames. Keepalives are swallowed.
type frameParser struct {
	header int
	rest   []byte
}

func newFrameParser(withHeader bool) *frameParser {
	if withHeader {
		return &frameParser{header: headerBytes}
	}
	return &frameParser{}
}

func (p *frameParser) feed(piece []byte) ([]frame, error) {
	p.rest = append(p.rest, piece...)
	var whole []frame
	at := 0
	for len(p.rest)-at >= 2 {
		length := int(binary.BigEndian.Uint16(p.rest[at:]))
		if length != 0 && (length <= p.header || length > p.header+PacketBytesMax) {
			return nil, fmt.Errorf("%w: a frame of %d bytes", ErrFraming, length)
		}
		if len(p.rest)-at-2 < length {
			break
		}
		if length > 0 {
			whole = append(whole, p.frame(p.rest[at+2:at+2+length]))
		}
		at += 2 + length
	}
	p.rest = append([]byte(nil), p.rest[at:]...)
	return whole, nil
}

func (p *frameParser) frame(body []byte) frame {
	read := frame{payload: append([]byte(nil), body[p.header:]...)}
	if p.header > 0 {
		read.seq, read.timestamp = binary.BigEndian.Uint16(body), binary.BigEndian.Uint32(body[2:])
	}
	return read
}

// unwrap answers the whole number whose low 16 bits are seq and which is nearest to near.
func unwrap(seq uint16, near uint64) uint64 {
	return near + uint64(int64(int16(seq-uint16(near))))
}

// duration answers how long an Opus packet lasts, in ticks of 1/48 000 s (RFC 6716 §3.1); 0 if it says nonsense.
func duration(packet []byte) uint32 {
	if len(packet) == 0 {
		return 0
	}
	config, length := packet[0]>>3, uint32(0)
	switch {
	case config < 12:
		length = []uint32{480, 960, 1920, 2880}[config&3]
	case config < 16:
		length = []uint32{480, 960}[config&1]
	default:
		length = []uint32{120, 240, 480, 960}[config&3]
	}
	count := []uint32{1, 2, 2, 0}[packet[0]&3]
	if packet[0]&3 == 3 && len(packet) > 1 {
		count = uint32(packet[1] & 0x3f)
	}
	if length*count > 5760 {
		return 0
	}
	return length * count
}
