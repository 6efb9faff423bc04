// SPDX-License-Identifier: Apache-2.0
// ipvsadm on a FakeEngine, for the recorded cases: a shell runs it again and again, and its table has to live from one
// call to the next. It does so as the list of calls made so far, in the file that SLUICE_FAKE_CALLS names: each call
// first does all earlier ones again, unheard. Names come from the hosts and services files in the folder
// SLUICE_FAKE_NAMES, not from this machine.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "ipvs/borrowed_engine.h"
#include "ipvs/fake_engine.h"
#include "ipvs/text/ipvsadm.h"

namespace {

using sluice::Family;
using sluice::IpAddress;
using sluice::Result;
using sluice::ipvs::Engine;
using sluice::ipvs::FakeEngine;
namespace text = sluice::ipvs::text;

// Lines of words, without comments.
std::vector<std::vector<std::string>> read_table(const std::string& path) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    rows.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
    if (rows.back().size() < 2) rows.pop_back();
  }
  return rows;
}

class FileNames : public text::Names {
 public:
  explicit FileNames(const std::string& folder)
      : hosts_(read_table(folder + "/hosts")), services_(read_table(folder + "/services")) {}

  std::optional<IpAddress> host_address(const std::string& name) override {
    for (const auto& row : hosts_) {
      const auto address = IpAddress::parse(row[0]);
      if (address && address->family() == Family::kIPv4 && std::find(row.begin() + 1, row.end(), name) != row.end())
        return address;
    }
    return std::nullopt;
  }
  std::optional<std::uint16_t> service_port(const std::string& name, std::uint16_t protocol) override {
    for (const auto& row : services_) {
      const bool named = row[0] == name || std::find(row.begin() + 2, row.end(), name) != row.end();
      if (named && row[1].ends_with(suffix(protocol))) return static_cast<std::uint16_t>(std::stoi(row[1]));
    }
    return std::nullopt;
  }
  std::optional<std::string> host_name(Family, const IpAddress& address) override {
    for (const auto& row : hosts_) {
      if (IpAddress::parse(row[0]) == address) return row[1];
    }
    return std::nullopt;
  }
  std::optional<std::string> service_name(std::uint16_t port, std::uint16_t protocol) override {
    for (const auto& row : services_) {
      if (row[1] == std::to_string(port) + suffix(protocol)) return row[0];
    }
    return std::nullopt;
  }

 private:
  static std::string suffix(std::uint16_t protocol) {
    return protocol == 6 ? "/tcp" : protocol == 17 ? "/udp" : protocol == 132 ? "/sctp" : "/none";
  }
  std::vector<std::vector<std::string>> hosts_;
  std::vector<std::vector<std::string>> services_;
};

struct Call {
  std::vector<std::string> words;  // the program first
  std::string input;
};

void put(std::ostream& file, const std::string& text) {
  file << text.size() << ' ' << text;
}

std::string take(std::istream& file) {
  std::size_t size = 0;
  file >> size;
  file.get();
  std::string text(size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(size));
  return text;
}

std::vector<Call> read_calls(const std::string& path) {
  std::vector<Call> calls;
  std::ifstream file(path, std::ios::binary);
  std::size_t count = 0;
  while (file >> count) {
    Call call;
    for (std::size_t i = 0; i < count; ++i) call.words.push_back(take(file));
    call.input = take(file);
    calls.push_back(std::move(call));
  }
  return calls;
}

void append_call(const std::string& path, const Call& call) {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file << call.words.size() << ' ';
  for (const std::string& word : call.words) put(file, word);
  put(file, call.input);
}

int perform(const Call& call, Engine& engine, text::Names& names, bool heard) {
  std::istringstream input(call.input);
  text::Console console = text::standard_console();
  if (!heard) console.out = console.err = [](std::string_view) {};
  console.read_line = [&]() -> std::optional<std::string> {
    std::string line;
    if (!std::getline(input, line)) return std::nullopt;
    return line;
  };
  console.line_ready = [] { return true; };  // the standard one would read what this call's input is
  const std::string path = call.words.front();
  text::Invocation invocation{path.substr(path.rfind('/') + 1), {call.words.begin() + 1, call.words.end()}};
  const auto open = [&](sluice::ipvs::EngineChoice) -> Result<std::unique_ptr<Engine>> {
    return std::make_unique<sluice::ipvs::BorrowedEngine>(engine);
  };
  if (invocation.program == "ipvsadm-save") return text::run_ipvsadm_save(invocation, open, names, console);
  if (invocation.program == "ipvsadm-restore") return text::run_ipvsadm_restore(invocation, open, names, console);
  return text::run_ipvsadm(invocation, open, names, console);
}

bool reads_input(const Call& call) {
  const auto has = [&](const char* word) {
    return std::find(call.words.begin(), call.words.end(), word) != call.words.end();
  };
  return call.words.front().ends_with("restore") || has("-R") || has("--restore");
}

}  // namespace

int main(int argc, char** argv) {
  const char* calls_file = std::getenv("SLUICE_FAKE_CALLS");
  const char* names_folder = std::getenv("SLUICE_FAKE_NAMES");
  if (calls_file == nullptr || names_folder == nullptr) {
    std::fputs("SLUICE_FAKE_CALLS and SLUICE_FAKE_NAMES must be set\n", stderr);
    return 3;
  }
  sluice::ipvs::FakeHost host;
  // What the recording machine was connected to.
  for (const char* broadcast : {"192.168.100.3", "192.168.200.3", "192.168.50.3", "172.31.0.255"}) {
    host.broadcasts.insert(*IpAddress::parse(broadcast));
  }
  FakeEngine engine(host);
  FileNames names(names_folder);
  Call call{{argv, argv + argc}, {}};
  for (const Call& earlier : read_calls(calls_file)) static_cast<void>(perform(earlier, engine, names, false));
  if (reads_input(call)) {
    while (const int c = std::getchar()) {
      if (c == EOF) break;
      call.input += static_cast<char>(c);
    }
  }
  append_call(calls_file, call);
  return perform(call, engine, names, true);
}
