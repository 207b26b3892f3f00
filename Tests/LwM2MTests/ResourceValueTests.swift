import LwM2M
import Testing

@Suite("Resource values")
struct ResourceValueTests {
    @Test(
        "Integers take the shortest of 1, 2, 4 and 8 bytes",
        arguments: [
            (0, "00"), (127, "7f"), (128, "0080"), (-1, "ff"), (-128, "80"), (-129, "ff7f"), (1111, "0457"),
            (50_000, "0000c350"), (86_400, "00015180"), (-32_769, "ffff7fff"), (2_147_483_648, "0000000080000000"),
            (.min, "8000000000000000"), (.max, "7fffffffffffffff"),
        ] as [(Int64, String)]
    )
    func integers(value: Int64, encoded: String) {
        #expect(hex(ResourceValue.bytes(value)) == encoded)
        #expect(ResourceValue.integer(bytes(hex: encoded)) == value)
    }

    @Test(
        "Unsigned integers have no sign",
        arguments: [
            (0, "00"), (0xAE, "ae"), (0xC0A8, "c0a8"), (0x1_0000, "00010000"), (.max, "ffffffffffffffff"),
        ] as [(UInt64, String)]
    )
    func unsigned(value: UInt64, encoded: String) {
        #expect(hex(ResourceValue.bytes(unsigned: value)) == encoded)
        #expect(ResourceValue.unsigned(bytes(hex: encoded)) == value)
    }

    @Test("Longer than needed is read too, as some servers pad")
    func padded() {
        #expect(ResourceValue.unsigned([0, 0, 0xC0, 0xA8]) == 0xC0A8)
        #expect(ResourceValue.integer([0, 0, 0, 0, 0, 0, 0, 3]) == 3)
    }

    @Test("Bytes of another length are no integer", arguments: [0, 3, 5, 6, 7, 9])
    func badLengths(count: Int) {
        #expect(ResourceValue.integer([UInt8](repeating: 0, count: count)) == nil)
        #expect(ResourceValue.unsigned([UInt8](repeating: 0, count: count)) == nil)
    }

    @Test("Booleans are 00 or 01 and nothing else")
    func booleans() {
        #expect(ResourceValue.boolean([0]) == false && ResourceValue.boolean([1]) == true)
        #expect(ResourceValue.boolean([2]) == nil && ResourceValue.boolean([]) == nil)
        #expect(ResourceValue.boolean([0, 0]) == nil)
    }

    @Test("Object links hold two identifiers; the highest of both refer to nothing")
    func links() {
        let link = ObjectLink(objectID: 21, instanceID: 258)
        #expect(ResourceValue.bytes(link) == [0, 21, 1, 2])
        #expect(ResourceValue.objectLink([0, 21, 1, 2]) == link)
        #expect(ResourceValue.objectLink([255, 255, 255, 255])?.isNull == true)
        #expect(ResourceValue.objectLink([0, 21, 1]) == nil)
    }
}
