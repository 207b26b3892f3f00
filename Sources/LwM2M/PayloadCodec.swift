/// Payloads of all the formats that can carry objects, read into one tree and written from it (spec 3).
///
/// Pure. What a payload holds of objects 0, 1, 2 and 21 has its types, stands as TLV spells it, and is written in any format.
/// All other values go through unchanged, in the format that they came in (``ValueSpelling``). Names, keys, lengths and
/// nesting are made anew; order is kept.
package enum PayloadCodec {
    /// The largest payload that is looked at, in bytes (T46).
    package static let maximumSize = TLV.maximumSize
    /// The most values in one payload; of TLV, the most records on all levels (T46).
    package static let maximumRecords = TLV.maximumRecords
    /// How deep arrays and objects may be nested, those that are ignored too (T46).
    package static let maximumDepth = 8
    /// The most CBOR items, or JSON values and names, in one payload, those that are ignored too (T46).
    package static let maximumItems = 16_384

    /// Whether payloads in this format are understood, for some path: otherwise the answer is 4.15.
    package static func supports(_ format: ContentFormat) -> Bool {
        switch format.registered {
        case .tlv, .senMLJSON, .senMLCBOR, .json, .lwm2mCBOR, .text, .octetStream, .cbor: true
        default: false
        }
    }

    /// Reads the payload of a write to `path`, or of an answer to a read of it: an object, an instance or a resource.
    ///
    /// Strict where two readers could see two trees: nothing trails, nothing occurs twice, everything lies under the path
    /// (T26, T27). One pass; the work is bounded by the limits above.
    package static func decode(
        _ bytes: [UInt8],
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> PathContent {
        guard 1...3 ~= path.count else { throw PayloadError(.unsupportedLevel, at: 0) }
        switch format.registered {
        case .tlv:
            do { return try TLV.decode(bytes, at: path) } catch {
                throw PayloadError(.tlv(error), at: error.offset)
            }
        case .text, .octetStream, .cbor: return try SingleValue.decode(bytes, format.registered, at: path)
        case .senMLJSON, .senMLCBOR, .json, .lwm2mCBOR:
            return try Self.content(of: Self.objects(in: bytes, format.registered, at: path), at: path)
        default: throw PayloadError(.unsupportedFormat, at: 0)
        }
    }

    /// The payload for `path`, which `content` must belong to; the reverse of ``decode(_:_:at:)``.
    package static func encode(
        _ content: PathContent,
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> [UInt8] {
        guard let object = Self.object(of: content, at: path) else { throw PayloadError(.unsupportedLevel) }
        switch (format.registered, content) {
        case (.tlv, _):
            do { return try TLV.encode(content) } catch { throw PayloadError(.tlv(error)) }
        case (.text, .resource(let resource)), (.octetStream, .resource(let resource)),
            (.cbor, .resource(let resource)):
            return try SingleValue.encode(resource, format.registered, at: path)
        case (.text, _), (.octetStream, _), (.cbor, _): throw PayloadError(.unsupportedLevel)
        case (.senMLJSON, _), (.senMLCBOR, _), (.json, _), (.lwm2mCBOR, _):
            return try Self.encode([object], format.registered, at: path)
        default: throw PayloadError(.unsupportedFormat)
        }
    }

    /// Reads a bootstrap pack: all objects in one document, SenML or LwM2M CBOR, with names from the root (spec 1.8).
    package static func decodePack(
        _ bytes: [UInt8],
        _ format: ContentFormat
    ) throws(PayloadError) -> [ObjectContent] {
        switch format {
        case .senMLJSON, .senMLCBOR, .lwm2mCBOR: try Self.objects(in: bytes, format, at: .root)
        default: throw PayloadError(.unsupportedFormat, at: 0)
        }
    }

    /// The reverse of ``decodePack(_:_:)``.
    package static func encodePack(
        _ objects: [ObjectContent],
        _ format: ContentFormat
    ) throws(PayloadError) -> [UInt8] {
        switch format {
        case .senMLJSON, .senMLCBOR, .lwm2mCBOR: try Self.encode(objects, format, at: .root)
        default: throw PayloadError(.unsupportedFormat)
        }
    }

    // MARK: - Formats whose documents say where each value belongs

    private static func objects(
        in bytes: [UInt8],
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> [ObjectContent] {
        switch format {
        case .senMLJSON: try SenMLJSON.decode(bytes, at: path)
        case .senMLCBOR: try SenMLCBOR.decode(bytes, at: path)
        case .json: try OMAJSON.decode(bytes, at: path)
        default: try LwM2MCBOR.decode(bytes, at: path)
        }
    }

    private static func encode(
        _ objects: [ObjectContent],
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> [UInt8] {
        switch format {
        case .senMLJSON: SenMLJSON.encode(try DocumentValue.all(of: objects, in: format, at: path), at: path)
        case .senMLCBOR: SenMLCBOR.encode(try DocumentValue.all(of: objects, in: format, at: path), at: path)
        case .json: OMAJSON.encode(try DocumentValue.all(of: objects, in: format, at: path), at: path)
        default: LwM2MCBOR.encode(try DocumentValue.all(of: objects, in: format, at: path))
        }
    }

    /// What a document for `path` holds: of the one object that it can be.
    private static func content(of objects: [ObjectContent], at path: LwM2MPath) throws(PayloadError) -> PathContent {
        let instances = objects.first?.instances ?? []
        guard let id = path.instanceID else { return .instances(instances) }
        let resources = instances.first?.resources ?? []
        guard path.resourceID != nil else { return .instance(ObjectInstance(id: id, resources: resources)) }
        guard let resource = resources.first else { throw PayloadError(.missingResource, at: 0) }
        return .resource(resource)
    }

    /// Nil when the content is not for this path.
    private static func object(of content: PathContent, at path: LwM2MPath) -> ObjectContent? {
        guard let object = path.objectID else { return nil }
        switch content {
        case .instances(let instances):
            guard path.count == 1 else { return nil }
            return ObjectContent(id: object, instances: instances)
        case .instance(let instance):
            guard path == LwM2MPath(object, instance.id) else { return nil }
            return ObjectContent(id: object, instances: [instance])
        case .resource(let resource):
            guard let id = path.instanceID, path == LwM2MPath(object, id, resource.id) else { return nil }
            return ObjectContent(id: object, instances: [ObjectInstance(id: id, resources: [resource])])
        }
    }
}
