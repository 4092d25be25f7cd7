#include "distributed/rendezvous/value_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kMaxKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a key of ", key.size(), " bytes, wanted 1 to ",
                   kMaxKeyBytes, ": '", PlainText(key, 64), "'"));
}

}  // namespace

absl::Status ValueStore::Put(const std::string& key, const std::string& value) {
  NW_RETURN_IF_ERROR(CheckKey(key));
  if (value.size() > kMaxValueBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the value of '", PlainText(key, 64), "' has ",
                     value.size(), " bytes, wanted at most ", kMaxValueBytes));
  }
  const auto old = values_.find(key);
  const size_t num_keys = values_.size() + (old == values_.end() ? 1 : 0);
  const size_t num_bytes =
      num_bytes_ + value.size() +
      (old == values_.end() ? key.size() : -old->second.size());
  if (num_keys > kMaxKeys || num_bytes > kMaxStoreBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for '", PlainText(key, 64), "': ", num_keys,
                     " keys and ", num_bytes, " bytes, wanted at most ",
                     kMaxKeys, " and ", kMaxStoreBytes));
  }
  num_bytes_ = num_bytes;
  values_[key] = value;
  const auto waiting = waiting_.find(key);
  if (waiting == waiting_.end()) return absl::OkStatus();
  for (const Waiting& get : waiting->second) {
    answers_.push_back({get.call, value});
  }
  num_waiting_ -= waiting->second.size();
  waiting_.erase(waiting);
  return absl::OkStatus();
}

void ValueStore::Get(uint64_t call, const std::string& key,
                     absl::Time deadline) {
  const absl::Status checked = CheckKey(key);
  if (!checked.ok()) {
    answers_.push_back({call, checked});
    return;
  }
  const auto found = values_.find(key);
  if (found != values_.end()) {
    answers_.push_back({call, found->second});
    return;
  }
  if (num_waiting_ >= kMaxWaitingGets) {
    answers_.push_back(
        {call, absl::ResourceExhaustedError(absl::StrCat(
                   num_waiting_, " calls wait for values, and no more can"))});
    return;
  }
  ++num_waiting_;
  waiting_[key].push_back({call, deadline});
}

void ValueStore::Tick(absl::Time now) {
  for (auto entry = waiting_.begin(); entry != waiting_.end();) {
    std::vector<Waiting> still;
    for (const Waiting& get : entry->second) {
      if (get.deadline > now) {
        still.push_back(get);
      } else {
        --num_waiting_;
        answers_.push_back({get.call, absl::DeadlineExceededError(absl::StrCat(
                                          "no rank has put '",
                                          PlainText(entry->first, 64), "'"))});
      }
    }
    entry->second.swap(still);
    entry = entry->second.empty() ? waiting_.erase(entry) : std::next(entry);
  }
}

void ValueStore::Clear(const absl::Status& status) {
  values_.clear();
  num_bytes_ = 0;
  for (const auto& [key, gets] : waiting_) {
    for (const Waiting& get : gets) answers_.push_back({get.call, status});
  }
  waiting_.clear();
  num_waiting_ = 0;
}

std::vector<ValueStore::Answer> ValueStore::TakeAnswers() {
  return std::exchange(answers_, {});
}

}  // namespace nextword::rendezvous
