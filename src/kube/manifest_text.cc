// SPDX-License-Identifier: Apache-2.0
// `kubectl get services -o yaml` of a large cluster is one document with thousands of items. Parsed into yaml-cpp's
// nodes, 19 MB of it take 900 MB; as events they take as much as the largest item. So items are cut out as soon as they
// end. A list's kind, which identifies items without a kind of their own, may come after them ("apiVersion, items,
// kind" is kubectl's order); those items wait. JSON is YAML too, but yaml-cpp looks ahead over all of it, so it is
// read like the API server's lists.
#include "kube/manifest_text.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <sstream>
#include <vector>

#include "kube/decode.h"
#include "kube/json_stream.h"
#include "kube/yaml_to_json.h"

namespace sluice::kube {
namespace {

constexpr std::string_view kListSuffix = "List";
constexpr std::size_t kLocatedBytesMax = 1024 * 1024;  // larger JSON objects are reported by their first line

bool is_list(std::string_view kind) {
  return kind.ends_with(kListSuffix);
}

// The kind of items that a list of that kind has: unknown if it is a plain List.
std::string kind_of_items(std::string_view list_kind) {
  return is_list(list_kind) ? std::string(list_kind.substr(0, list_kind.size() - kListSuffix.size())) : std::string();
}

int line_in_json(const std::string& json, const std::string& path);

// An object whose lines are not known beyond its first.
class PlainText : public ManifestText {
 public:
  PlainText(std::string json, std::string kind_hint, int line)
      : json_(std::move(json)), kind_hint_(std::move(kind_hint)), line_(line) {}
  [[nodiscard]] const std::string& json() const override { return json_; }
  [[nodiscard]] const std::string& kind_hint() const override { return kind_hint_; }
  [[nodiscard]] int line() const override { return line_; }
  [[nodiscard]] int line_of(const std::string&) const override { return line_; }

 private:
  const std::string json_;
  const std::string kind_hint_;
  const int line_;
};

// An object of a JSON file: its lines are counted only on request.
class JsonText : public PlainText {
 public:
  using PlainText::PlainText;
  [[nodiscard]] int line_of(const std::string& path) const override {
    return json().size() > kLocatedBytesMax ? line() : line() + line_in_json(json(), path) - 1;
  }
};

// An object of a YAML file, while its marks still exist.
class YamlText : public PlainText {
 public:
  struct Place {
    const YamlToJson& writer;
    std::size_t mark;
    int line;
  };
  YamlText(std::string json, std::string kind_hint, const Place& place)
      : PlainText(std::move(json), std::move(kind_hint), place.line), place_(place) {}
  [[nodiscard]] int line_of(const std::string& path) const override { return place_.writer.line_of(place_.mark, path); }

 private:
  const Place place_;
};

class Documents : public YAML::EventHandler {
 public:
  explicit Documents(const OnManifest& on_manifest) : on_manifest_(on_manifest) {}

  [[nodiscard]] const YamlToJson& writer() const { return writer_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    writer_.reset();
    line_ = mark.line + 1;
    kind_.clear();
    item_kind_.clear();
    in_items_ = false;
    items_seen_ = false;
    waiting_.clear();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (writer_.depth() == 0) return;  // an empty document
    value(mark, "", true, anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    // yaml-cpp tags quoted scalars "!" and plain ones "?".
    value(mark, text, tag != "!" && tag != "tag:yaml.org,2002:str", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (!may_begin(mark, true)) return;
    const std::size_t position = writer_.text().size();
    writer_.alias(mark.line + 1, anchor);
    if (at_item()) end_item(position);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (!may_begin(mark, false)) return;
    const bool items = writer_.depth() == 1 && writer_.key() == "items" && (kind_.empty() || is_list(kind_));
    writer_.begin(mark.line + 1, false, anchor);
    if (items) in_items_ = items_seen_ = true;
  }
  void OnSequenceEnd() override {
    writer_.end();
    if (writer_.depth() == 1) in_items_ = false;
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (!may_begin(mark, true)) return;
    if (at_item()) {
      item_position_ = writer_.text().size();
      item_mark_ = writer_.marks();
      item_line_ = mark.line + 1;
      item_kind_.clear();
    }
    if (writer_.depth() == 0) line_ = mark.line + 1;
    writer_.begin(mark.line + 1, true, anchor);
  }
  void OnMapEnd() override {
    writer_.end();
    if (!writer_.outcome()) return;
    if (at_item()) return end_item(item_position_);
    if (writer_.depth() == 0) end_document();
  }

 private:
  [[nodiscard]] bool at_item() const { return in_items_ && writer_.depth() == 2; }

  // Reports a fault if something is not an object where one is required.
  bool may_begin(const YAML::Mark& mark, bool map) {
    if (!map && writer_.depth() == 0) writer_.fault(mark.line + 1, "a Kubernetes object must be a map");
    if (!map && at_item()) writer_.fault(mark.line + 1, "an item of a list must be a map");
    return static_cast<bool>(writer_.outcome());
  }

  void value(const YAML::Mark& mark, const std::string& text, bool plain, YAML::anchor_t anchor) {
    if (!may_begin(mark, false)) return;
    if (writer_.key() == "kind") {
      if (writer_.depth() == 1) kind_ = text;
      if (writer_.depth() == 3 && in_items_) item_kind_ = text;
    }
    writer_.scalar(mark.line + 1, text, plain, anchor);
  }

  void end_item(std::size_t position) {
    std::string json = writer_.cut_element(position);
    if (!writer_.outcome()) return;
    if (item_kind_.empty() && kind_.empty()) {
      waiting_.emplace_back(std::move(json), item_line_);
    } else {
      on_manifest_(YamlText(std::move(json), kind_of_items(kind_), {writer_, item_mark_, item_line_}));
    }
    writer_.forget_marks(item_mark_);
  }

  void end_document() {
    if (!is_list(kind_)) return on_manifest_(YamlText(writer_.text(), "", {writer_, 0, line_}));
    for (auto& [json, line] : waiting_) on_manifest_(PlainText(std::move(json), kind_of_items(kind_), line));
    waiting_.clear();
  }

  const OnManifest& on_manifest_;
  YamlToJson writer_;
  int line_ = 1;
  std::string kind_;
  std::string item_kind_;
  bool in_items_ = false;
  bool items_seen_ = false;
  std::size_t item_position_ = 0;
  std::size_t item_mark_ = 0;
  int item_line_ = 1;
  std::vector<std::pair<std::string, int>> waiting_;  // items whose kind is known at the end of their list
};

int line_in_json(const std::string& json, const std::string& path) {
  int line = 1;
  const OnManifest look = [&](const ManifestText& text) { line = text.line_of(path); };
  std::istringstream in(json);
  // What yaml-cpp cannot read although it is JSON, such as surrogate pairs, keeps its first line.
  return read_yaml_manifests(in, look) ? line : 1;
}

}  // namespace

Result<> read_yaml_manifests(std::istream& in, const OnManifest& on_manifest) {
  Documents documents(on_manifest);
  try {
    YAML::Parser parser(in);
    while (documents.writer().outcome() && parser.HandleNextDocument(documents)) {
    }
  } catch (const YAML::Exception& error) {
    // An earlier fault, such as too deep nesting, may be the reason for the parser's error.
    if (!documents.writer().outcome()) return tl::unexpected(documents.writer().outcome().error());
    return fail(Errc::kInvalid, fmt::format("{}: {}", error.mark.line + 1, error.msg));
  } catch (const std::ios_base::failure& error) {
    // yaml-cpp reads from the stream's buffer itself, and libstdc++'s file buffer throws where read(2) fails.
    return fail(Errc::kUnavailable, fmt::format("{}: {}", documents.writer().line(), error.what()));
  }
  if (!documents.writer().outcome()) return tl::unexpected(documents.writer().outcome().error());
  return {};
}

Result<> read_json_manifests(std::istream& in, const OnManifest& on_manifest) {
  Decoder decoder;
  std::string kind_hint;
  bool first = true;
  const JsonSplitter* self = nullptr;
  JsonSplitter splitter(JsonSplitter::Kind::kListItems, [&](std::string_view json) -> Result<> {
    if (std::exchange(first, false)) {
      // The text before the items, closed, has the kind if it comes before them.
      const auto head = decoder.decode_list_metadata(std::string(self->rest()) + "]}");
      if (head) kind_hint = kind_of_items(head->kind);
    }
    on_manifest(JsonText(std::string(json), kind_hint, static_cast<int>(self->object_line())));
    return {};
  });
  self = &splitter;
  std::vector<char> chunk(64UL * 1024);
  while (in) {
    in.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    const auto fed = splitter.feed({chunk.data(), static_cast<std::size_t>(in.gcount())});
    if (!fed) return fail(fed.error().code, fmt::format("{}: {}", splitter.line(), fed.error().what));
  }
  if (in.bad()) return fail(Errc::kUnavailable, fmt::format("{}: reading failed", splitter.line()));
  auto rest = splitter.finish();
  if (!rest) return fail(rest.error().code, fmt::format("{}: {}", splitter.line(), rest.error().what));
  const auto head = decoder.decode_list_metadata(*rest);
  if (!head) return fail(head.error().code, fmt::format("{}: {}", splitter.line(), head.error().what));
  if (!is_list(head->kind)) on_manifest(JsonText(std::move(*rest), "", 1));
  return {};
}

}  // namespace sluice::kube
