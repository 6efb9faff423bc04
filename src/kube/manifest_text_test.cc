// SPDX-License-Identifier: Apache-2.0
#include "kube/manifest_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <vector>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using ReadManifests = Result<> (*)(std::istream&, const OnManifest&);

struct Found {
  std::vector<std::string> objects;  // "LINE HINT JSON"
  std::vector<int> lines;            // of the path that was asked for
  Result<> outcome;
};

Found read(ReadManifests how, const std::string& text, const std::string& path = "") {
  Found found;
  std::istringstream in(text);
  found.outcome = how(in, [&](const ManifestText& manifest) {
    found.objects.push_back(fmt::format("{} {} {}", manifest.line(), manifest.kind_hint(), manifest.json()));
    found.lines.push_back(manifest.line_of(path));
  });
  return found;
}
Found yaml(const std::string& text, const std::string& path = "") {
  return read(read_yaml_manifests, text, path);
}
Found json(const std::string& text, const std::string& path = "") {
  return read(read_json_manifests, text, path);
}

TEST(YamlManifests, ScalarsKeepTheTypesThatKubectlSees) {
  struct Row {
    const char* yaml;
    const char* json;
  };
  const Row rows[] = {
      {"80", "80"},
      {"'80'", R"("80")"},
      {"\"80\"", R"("80")"},
      {"!!str 80", R"("80")"},
      {"-5", "-5"},
      {"+5", "5"},
      {"0x1F", "31"},
      {"017", "15"},
      {"0o17", "15"},
      {"08", "8"},
      {"1_000", "1000"},
      {"80.0", "80"},
      {"1.5", "1.5"},
      {"1e3", "1000"},
      {"10.0.0.1", R"("10.0.0.1")"},
      {"172.30.0.041", R"("172.30.0.041")"},
      {"fd00::1", R"("fd00::1")"},
      {"10.0.0.0/8", R"("10.0.0.0/8")"},
      {"true", "true"},
      {"Yes", "true"},
      {"off", "false"},
      {"'yes'", R"("yes")"},
      {"~", "null"},
      {"null", "null"},
      {"", "null"},
      {"''", R"("")"},
      {".inf", R"(".inf")"},
      {"2026-11-23", R"("2026-11-23")"},
      {"18446744073709551616", "1.8446744073709552e+19"},
      {"y", "true"},
      {"N", "false"},
      {"_1", R"("_1")"},
      {"\"a\\\"b\\\\c\\n\\t\\x01\"", R"("a\"b\\c\n\t\u0001")"},
      {"naïve", R"("naïve")"},
      {"|\n  two\n  lines\n", R"("two\nlines\n")"},
      {"[1, a, {b: c}]", R"([1,"a",{"b":"c"}])"},
      {"{}", "{}"},
      {"[]", "[]"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.yaml);
    const Found found = yaml(fmt::format("a: {}\n", row.yaml));
    EXPECT_TRUE(found.outcome) << found.outcome.error().what;
    EXPECT_THAT(found.objects, ElementsAre(fmt::format("1  {{\"a\":{}}}", row.json)));
  }
}

TEST(YamlManifests, KeysAreTextsOfTheirValues) {
  const Found found = yaml("on: 1\nn: 2\n0x10: 3\n1.50: 4\n'yes': 5\nplain: 6\n");
  EXPECT_TRUE(found.outcome) << found.outcome.error().what;
  EXPECT_THAT(found.objects, ElementsAre(R"(1  {"true":1,"false":2,"16":3,"1.5":4,"yes":5,"plain":6})"));
  EXPECT_THAT(yaml("a:\n  y: 1\n  'true': 2\n").outcome.error().what, HasSubstr("3: key 'true' is given twice"));
  EXPECT_THAT(yaml("a:\n  ~: 1\n").outcome.error().what, HasSubstr("2: a key must be a string"));
}

// A disk that fails after some bytes, as libstdc++'s file buffer reports it.
class FailingDisk : public std::streambuf {
 public:
  explicit FailingDisk(std::string text) : text_(std::move(text)) {
    setg(text_.data(), text_.data(), text_.data() + text_.size());
  }

 private:
  int_type underflow() override { throw std::ios_base::failure("error reading the file"); }
  std::string text_;
};

TEST(Manifests, AReadErrorIsNotTakenForTheEndOfTheFile) {
  struct Row {
    ReadManifests how;
    const char* text;
  };
  for (const Row& row :
       {Row{read_yaml_manifests, "kind: Service\n---\n"}, Row{read_json_manifests, "{\"kind\":\"Service\"}\n"}}) {
    SCOPED_TRACE(row.text);
    FailingDisk disk(row.text + std::string(100'000, '\n'));  // more than is read at once
    std::istream in(&disk);
    EXPECT_FALSE(row.how(in, [](const ManifestText&) {}));
  }
}

TEST(YamlManifests, DocumentsComeOneByOneAndEmptyOnesAreNone) {
  const Found found = yaml("---\n# only a comment\n---\nkind: A\n---\n---\nkind: B\n...\n");
  EXPECT_TRUE(found.outcome);
  EXPECT_THAT(found.objects, ElementsAre(R"(4  {"kind":"A"})", R"(7  {"kind":"B"})"));
  EXPECT_THAT(yaml("").objects, IsEmpty());
  EXPECT_THAT(yaml("# nothing\n").objects, IsEmpty());
}

TEST(YamlManifests, ItemsOfListsComeOneByOne) {
  EXPECT_THAT(
      yaml("apiVersion: v1\nitems:\n- kind: Service\n  a: 1\n- a: 2\n  kind: Node\nkind: List\nmetadata: {}\n").objects,
      ElementsAre(R"(3  {"kind":"Service","a":1})", R"(5  {"a":2,"kind":"Node"})"));
  EXPECT_THAT(yaml("kind: ServiceList\nitems:\n- a: 1\n- {a: 2}\n").objects,
              ElementsAre(R"(3 Service {"a":1})", R"(4 Service {"a":2})"));
  EXPECT_THAT(yaml("items:\n- a: 1\n- a: 2\nkind: ServiceList\n").objects,
              ElementsAre(R"(2 Service {"a":1})", R"(3 Service {"a":2})"));
  EXPECT_THAT(yaml("kind: ServiceList\nitems: []\n---\nkind: List\nitems:\n").objects, IsEmpty());
  EXPECT_THAT(yaml("kind: Recipe\nitems:\n- flour\n- eggs\n").objects,
              ElementsAre(R"(1  {"kind":"Recipe","items":["flour","eggs"]})"));
}

TEST(YamlManifests, AliasesAndMergeKeysAreWrittenOut) {
  EXPECT_THAT(yaml("a: &x {b: 1}\nc: *x\nd: [*x, &y two, *y]\n").objects,
              ElementsAre(R"(1  {"a":{"b":1},"c":{"b":1},"d":[{"b":1},"two","two"]})"));
  EXPECT_THAT(
      yaml("base: &x {b: 1, c: [1,{z: 2}]}\nm:\n  <<: *x\n  b: 7\nk: {<<: [*x, {d: 4, b: 9}]}\n").objects,
      ElementsAre(
          R"(1  {"base":{"b":1,"c":[1,{"z":2}]},"m":{"b":7,"c":[1,{"z":2}]},"k":{"b":1,"c":[1,{"z":2}],"d":4}})"));
  EXPECT_THAT(yaml("kind: List\nitems:\n- &a {kind: Service, x: 1}\n- *a\n").objects,
              ElementsAre(R"(3  {"kind":"Service","x":1})", testing::EndsWith(R"({"kind":"Service","x":1})")));
}

TEST(YamlManifests, ErrorsNameTheLine) {
  struct Row {
    const char* name;
    std::string text;
    const char* error;
  };
  std::string laughs = "a0: &a0 [" + std::string(2000, '1') + "]\n";
  for (int i = 1; i < 10; ++i) {
    laughs += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  }
  const Row rows[] = {
      {"indentation", "kind: A\n  b: 1\n c: 2\n", "2: "},
      {"open bracket", "kind: A\nb: [1, 2\n", "3: "},
      {"tab", "kind: A\nb:\n\tc: 1\n", "3: "},
      {"a list as document", "kind: A\n---\n- a\n", "3: a Kubernetes object must be a map"},
      {"a text as document", "hello\n", "1: a Kubernetes object must be a map"},
      {"a list as item", "kind: List\nitems:\n- [1]\n", "3: an item of a list must be a map"},
      {"a text as item", "kind: List\nitems:\n- one\n", "3: an item of a list must be a map"},
      {"a map as key", "kind: A\n? {a: 1}\n: 2\n", "2: a key must be a string"},
      {"a key twice", "kind: A\nb:\n  c: 1\n  c: 2\n", "4: key 'c' is given twice"},
      {"an unknown alias", "kind: A\nb: *nobody\n", "2: "},
      {"an alias within itself", "kind: A\nb: &x [*x]\n", "2: an alias is within the value that it refers to"},
      {"a text merged", "kind: A\n<<: text\n", "2: a merge key needs"},
      {"a billion laughs", laughs, "more than 16777216 bytes"},
      {"deep nesting", "a: " + std::string(300, '[') + std::string(300, ']') + "\n",
       "1: nested deeper than 100 levels"},
      {"nesting that is too deep for the parser", "a: " + std::string(3000, '[') + std::string(3000, ']') + "\n",
       "1: nested deeper than 100 levels"},
      {"nesting of maps", "kind: A\na: " + std::string(300, '{') + "\n", "2: "},
      {"bytes that are not UTF-8", "kind: A\nb: \"x\xff\"\n", "2: a text that is not UTF-8"},
      {"a key that is not UTF-8", "kind: A\nb:\n  \xc3(: 1\n", "3: a text that is not UTF-8"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Found found = yaml(row.text);
    ASSERT_FALSE(found.outcome);
    EXPECT_THAT(found.outcome.error().what, HasSubstr(row.error));
  }
}

TEST(YamlManifests, AFieldsPathLeadsToItsLine) {
  const std::string text =
      "kind: Service\n"           // 1
      "metadata:\n"               // 2
      "  name: a\n"               // 3
      "  labels:\n"               // 4
      "    example.com/one: x\n"  // 5
      "spec:\n"                   // 6
      "  ports:\n"                // 7
      "  - port: 1\n"             // 8
      "  - name: b\n"             // 9
      "    port: 70000\n"         // 10
      "    portly: 1\n";          // 11
  struct Row {
    const char* path;
    int line;
  };
  const Row rows[] = {{"kind", 1},
                      {"metadata.labels.example.com/one", 5},
                      {"spec.ports", 8},  // a sequence begins with its first element
                      {"spec.ports[0].port", 8},
                      {"spec.ports[1].port", 10},
                      {"spec.ports[1].protocol", 9},
                      {"spec.type", 7},
                      {"status.loadBalancer", 1}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.path);
    EXPECT_THAT(yaml(text, row.path).lines, ElementsAre(row.line));
    EXPECT_THAT(yaml("kind: X\n---\n" + text, row.path).lines, ElementsAre(testing::_, row.line + 2));
  }
  EXPECT_THAT(yaml("kind: List\nitems:\n- kind: A\n- kind: B\n  spec:\n    x: 1\n", "spec.x").lines, ElementsAre(3, 6));
}

TEST(JsonManifests, OneObjectOrOneList) {
  EXPECT_THAT(json("{\"kind\":\"Service\"}\n").objects, ElementsAre("1  {\"kind\":\"Service\"}\n"));
  EXPECT_THAT(json("{\"kind\":\"List\",\"items\":[\n{\"kind\":\"A\"},\n{\"b\":{}}]}").objects,
              ElementsAre(R"(2  {"kind":"A"})", R"(3  {"b":{}})"));
  EXPECT_THAT(json("{\"kind\":\"ServiceList\",\"items\":[{\"a\":1}]}").objects, ElementsAre(R"(1 Service {"a":1})"));
  EXPECT_THAT(json("{\"kind\":\"ServiceList\",\"items\":[]}").objects, IsEmpty());
}

TEST(JsonManifests, ErrorsNameTheLine) {
  struct Row {
    const char* name;
    const char* text;
    const char* error;
  };
  const Row rows[] = {
      {"empty", "\n\n", "3: the stream ended"},
      {"half", "{\n\"kind\":", "2: the stream ended"},
      {"YAML", "\nkind: Service\n", "2: unexpected character"},
      {"two objects", "{}\n{}\n", "2: more than one"},
      {"bad literal", "{\"kind\":Service}", "1: not JSON"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Found found = json(row.text);
    ASSERT_FALSE(found.outcome);
    EXPECT_THAT(found.outcome.error().what, HasSubstr(row.error));
  }
}

TEST(JsonManifests, AFieldsPathLeadsToItsLine) {
  const std::string text =
      "{\n\"kind\":\"List\",\"items\":[\n{},\n{\n\"spec\":{\n\"ports\":[{\"port\":1},\n{\"port\":2}]}}]}\n";
  EXPECT_THAT(json(text, "spec.ports[1].port").lines, ElementsAre(3, 7));
}

}  // namespace
}  // namespace sluice::kube
