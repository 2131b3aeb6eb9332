package transport

import (
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// attributeNames are the short names that OpenSSL prints (X509_NAME_print_ex with XN_FLAG_RFC2253).
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
	"2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title",
	"2.5.4.13": "description", "2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN",
	"2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.46": "dnQualifier",
	"1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.1": "UID",
}

// attribute is one part of a distinguished name.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type attributeSET []attribute

// nameText prints a distinguished name as Envoy does: the last part first, values escaped as RFC
// 2253 says and every byte beyond ASCII in hex. What is no name gives the empty text.
func nameText(der []byte) string {
	var rdns []attributeSET
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i := len(rdns) - 1; i >= 0; i-- {
		if i < len(rdns)-1 {
			b.WriteByte(',')
		}
		for j := len(rdns[i]) - 1; j >= 0; j-- {
			if j < len(rdns[i])-1 {
				b.WriteByte('+')
			}
			writeAttribute(&b, &rdns[i][j])
		}
	}
	return b.String()
}

func writeAttribute(b *strings.Builder, a *attribute) {
	oid := a.Type.String()
	name, known := attributeNames[oid]
	if !known {
		b.WriteString(oid + "=#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
		return
	}
	b.WriteString(name + "=")
	text, ok := stringOf(&a.Value)
	if !ok {
		b.WriteString("#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
		return
	}
	for i := range len(text) {
		c := text[i]
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0,
			c == ' ' && (i == 0 || i == len(text)-1), c == '#' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteString(`\` + strings.ToUpper(hex.EncodeToString([]byte{c})))
		default:
			b.WriteByte(c)
		}
	}
}

// stringOf returns a value in UTF-8.
func stringOf(v *asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return string(v.Bytes), true
	case asn1.TagT61String: // taken as Latin-1
		var b strings.Builder
		for _, c := range v.Bytes {
			b.WriteRune(rune(c))
		}
		return b.String(), true
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", false
		}
		var units []uint16
		for i := 0; i < len(v.Bytes); i += 2 {
			units = append(units, uint16(v.Bytes[i])<<8|uint16(v.Bytes[i+1]))
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}
